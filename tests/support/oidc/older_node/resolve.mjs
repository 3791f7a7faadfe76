// Gives whoever imports node:crypto the one beside this file.
const OURS = new URL('./crypto.mjs', import.meta.url).href;

export async function resolve(specifier, context, next) {
  if (specifier !== 'node:crypto' || context.parentURL === OURS) return next(specifier, context);
  return { url: OURS, shortCircuit: true };
}
