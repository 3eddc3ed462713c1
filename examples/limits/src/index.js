export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/throw")) throw new Error("a Worker threw this");
    if (pathname.endsWith("/spin")) {
      while (true);
    }
    return new Response("well behaved\n");
  },
};
