import { DurableObject } from "cloudflare:workers";

const SLUG = /^[a-z0-9-]{1,64}$/;
const SLUG_LETTERS = 7;
const LETTERS = "abcdefghijkmnpqrstuvwxyz23456789";
const URL_LETTERS_MAX = 2048;
const SECONDS_PER_DAY = 86_400;
// What KV reads at once.
const READ_MANY_MAX = 100;
// How many links there are, as of last night. No slug has an underscore.
const COUNT = "_count";

// How often a link was followed, day by day: one object for each link, which keeps its own table.
export class Clicks extends DurableObject {
  constructor(ctx, env) {
    super(ctx, env);
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS clicks (day TEXT PRIMARY KEY, count INTEGER NOT NULL)");
  }

  async fetch(request) {
    const { sql } = this.ctx.storage;
    if (request.method === "GET") return Response.json(sql.exec("SELECT day, count FROM clicks ORDER BY day").toArray());
    const day = new Date().toISOString().slice(0, 10);
    sql.exec("INSERT INTO clicks VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET count = count + 1", day);
    return new Response(null, { status: 204 });
  }
}

export default {
  async fetch(request, env, ctx) {
    const url = new URL(request.url);
    const [slug, more, ...rest] = url.pathname.slice(1).split("/").map(decodeURIComponent);
    if (more === "clicks" && rest.length === 0 && request.method === "GET" && SLUG.test(slug)) return clicks(env, slug);
    if (more !== undefined) return text("no such link", 404);
    if (request.method === "POST" && slug === "") return shorten(request, url, env.LINKS);
    if (request.method === "GET" && slug === "") return text(`${(await env.LINKS.get(COUNT)) ?? 0} links`, 200);
    if (!SLUG.test(slug)) return text("no such link", 404);
    if (request.method === "DELETE") {
      await env.LINKS.delete(slug);
      return new Response(null, { status: 204 });
    }
    if (request.method !== "GET" && request.method !== "HEAD") return text("GET, DELETE, or POST to /", 405);
    const target = await env.LINKS.get(slug);
    if (!target) return text("no such link", 404);
    // The visitor does not wait for it.
    if (request.method === "GET") ctx.waitUntil(clicks(env, slug, { method: "POST" }));
    return Response.redirect(target, 302);
  },

  async scheduled(controller, env) {
    const links = await all(env.LINKS);
    const day = new Date(controller.scheduledTime).toISOString().slice(0, 10);
    // Neither a slug nor a URL as it is kept needs quotes: the one has no comma, the other is the last.
    await env.EXPORTS.put(`${day}.csv`, links.map(([slug, target]) => `${slug},${target}\n`).join(""), {
      httpMetadata: { contentType: "text/csv" },
    });
    await env.LINKS.put(COUNT, String(links.length));
  },
};

function clicks(env, slug, init) {
  return env.CLICKS.get(env.CLICKS.idFromName(slug)).fetch("https://clicks/", init);
}

async function all(links) {
  const found = [];
  let page = {};
  do {
    page = await links.list({ cursor: page.cursor });
    const slugs = page.keys.map(({ name }) => name).filter((name) => name !== COUNT);
    for (let at = 0; at < slugs.length; at += READ_MANY_MAX) {
      const read = await links.get(slugs.slice(at, at + READ_MANY_MAX));
      // One may be gone since it was listed.
      found.push(...[...read].filter(([, target]) => target !== null));
    }
  } while (!page.list_complete);
  return found;
}

async function shorten(request, url, links) {
  const target = targetOf(await request.text());
  if (!target) return text("the body is to be a URL with http or https", 400);
  const slug = url.searchParams.get("slug") ?? random();
  if (!SLUG.test(slug)) return text("a slug has small letters, digits and hyphens, 64 at the most", 400);
  if (await links.get(slug)) return text("that slug is taken", 409);
  const days = Number(url.searchParams.get("days") ?? 0);
  if (!Number.isInteger(days) || days < 0) return text("days is a whole number", 400);
  await links.put(slug, target, days ? { expirationTtl: days * SECONDS_PER_DAY } : {});
  const short = new URL(`/${slug}`, url);
  return new Response(`${short}\n`, { status: 201, headers: { location: short.href } });
}

function targetOf(body) {
  const said = body.trim();
  if (said.length > URL_LETTERS_MAX || !URL.canParse(said)) return null;
  const target = new URL(said);
  return target.protocol === "http:" || target.protocol === "https:" ? target.href : null;
}

function random() {
  const octets = crypto.getRandomValues(new Uint8Array(SLUG_LETTERS));
  return Array.from(octets, (octet) => LETTERS[octet % LETTERS.length]).join("");
}

function text(message, status) {
  return new Response(`${message}\n`, { status });
}
