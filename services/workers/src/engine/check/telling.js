// Comes before all code of a Worker that is tried, and keeps what it tells the node with, whatever that code makes of it. The node
// writes in the place of SECRET what it knows our lines by.

const { log } = console;
const { stringify } = JSON;

export const tell = (what) => log(`SECRET ${stringify(what)}`);
