import { Hono } from "hono";
import { cors } from "hono/cors";
import { HTTPException } from "hono/http-exception";

const QUOTES = [
  { author: "Grace Hopper", text: "A ship in port is safe, but that is not what ships are built for." },
  { author: "Edsger W. Dijkstra", text: "Simplicity is prerequisite for reliability." },
  { author: "Donald E. Knuth", text: "Premature optimization is the root of all evil." },
];

const app = new Hono();

app.use("/quotes/*", cors());

app.get("/", (c) => c.text("Hello Hono!\n"));

app.get("/quotes", (c) => c.json(QUOTES));

app.get("/quotes/:number{[0-9]+}", (c) => {
  const quote = QUOTES[Number(c.req.param("number")) - 1];
  if (!quote) throw new HTTPException(404, { message: `there are ${QUOTES.length} quotes\n` });
  return c.json(quote);
});

app.post("/echo", async (c) => c.json({ said: await c.req.text() }));

export default app;
