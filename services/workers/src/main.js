// Begins a Worker of modules that has such bindings; the node writes its main module in the place of MAIN. Without a default export
// it has none that does anything.

import "proxima-bindings.js";
import * as main from MAIN;

export * from MAIN;
const begun = main.default ?? {};
export default begun;
