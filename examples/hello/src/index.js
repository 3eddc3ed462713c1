export default {
  fetch(request, env) {
    const url = new URL(request.url);
    const name = url.searchParams.get("name") ?? "world";
    return new Response(`${env.GREETING}, ${name}! This is ${request.cf.colo}.\n`);
  },
};
