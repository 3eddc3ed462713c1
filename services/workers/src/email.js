// `cloudflare:email`, for code that says its name: messages can be made, and there is nobody who sends or receives them. The engine's own
// wants a module that only settings can give, and code that is loaded has none of those.

export class EmailMessage {
  constructor(from, to, raw) {
    Object.assign(this, { from, to, raw });
  }
}
