// What the provider needs and Node.js 18 (Debian 12) lacks.
import crypto from 'node:crypto';
import { register } from 'node:module';

globalThis.crypto ??= crypto.webcrypto;
URL.parse ??= (url, base) => {
  try {
    return new URL(url, base);
  } catch {
    return null;
  }
};
if (!crypto.hash) register('./resolve.mjs', import.meta.url);
