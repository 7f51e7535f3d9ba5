// placeholder, replaced by tooling
export default { forbidden: [] };
