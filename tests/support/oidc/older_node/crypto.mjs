// node:crypto with the `hash` of Node.js 20.12.
import crypto from 'node:crypto';

export * from 'node:crypto';
export default crypto;
export const hash = (algorithm, data, encoding = 'hex') =>
  crypto.createHash(algorithm).update(data).digest(encoding);
