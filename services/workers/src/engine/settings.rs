//! What a process of the engine is told: `config.capnp` (`workerd.capnp` of the engine describes it).

/// Where code asks for its assets, in the folder of the run.
pub(crate) const ASSETS_SOCKET: &str = "assets.sock";
/// Where code is asked for, in the folder of the run.
pub(crate) const CODE_SOCKET: &str = "code.sock";
/// Where what Workers fetch is asked for.
pub(crate) const EGRESS_SOCKET: &str = "egress.sock";
/// Where keys and values are asked for.
pub(crate) const KV_SOCKET: &str = "kv.sock";
/// Where objects are asked for.
pub(crate) const R2_SOCKET: &str = "r2.sock";
/// Where it is said what Workers did.
pub(crate) const TAIL_SOCKET: &str = "tail.sock";
/// The dispatcher, beside it.
pub(crate) const DISPATCHER: &str = "dispatcher.js";
/// Its source.
pub(crate) const DISPATCHER_SOURCE: &str = include_str!("dispatcher.js");
/// What the settings are called, in the folder of the run, or of a process.
pub(crate) const SETTINGS: &str = "engine.capnp";

/// The settings of a process with this secret, which has letters and digits only. The socket `http` is given by its
/// descriptor. Nothing leads anywhere but to the node. `own` is the Worker `own` that requests are for; without, the dispatcher
/// has them.
pub(crate) fn process_settings(secret: &str, own: Option<&str>) -> String {
    debug_assert!(secret.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    let facts = crate::facts::FIELD;
    let (asked, service) = match own {
        None => ("dispatcher", ""),
        Some(_) => ("own", "\n    (name = \"own\", worker = .own),"),
    };
    let own = own.unwrap_or_default();
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "dispatcher", worker = .dispatcher),{service}
    (name = "assets", external = (
      address = "unix:{ASSETS_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    (name = "code", external = (address = "unix:{CODE_SOCKET}", http = ())),
    (name = "egress", external = (
      address = "unix:{EGRESS_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    (name = "kv", external = (address = "unix:{KV_SOCKET}", http = (cfBlobHeader = "{facts}"))),
    (name = "r2", external = (address = "unix:{R2_SOCKET}", http = (cfBlobHeader = "{facts}"))),
    (name = "tail", external = (address = "unix:{TAIL_SOCKET}", http = (cfBlobHeader = "{facts}"))),
    # The engine has one of this name that leads everywhere, and wants the machine's certificates for it, unless it is told.
    (name = "internet", network = (allow = [])),
  ],
  sockets = [
    (name = "http", service = "{asked}", http = (style = proxy, cfBlobHeader = "{facts}")),
  ],
);

const dispatcher :Workerd.Worker = (
  modules = [(name = "{DISPATCHER}", esModule = embed "{DISPATCHER}")],
  compatibilityDate = "2026-11-01",
  # Its stubs of Workers have `scheduled`.
  compatibilityFlags = ["experimental", "service_binding_extra_handlers"],
  bindings = [
    (name = "LOADER", workerLoader = ()),
    (name = "ASSETS", service = "assets"),
    (name = "CODE", service = "code"),
    (name = "EGRESS", service = "egress"),
    (name = "KV", service = "kv"),
    (name = "R2", service = "r2"),
    (name = "TAIL", service = "tail"),
    (name = "SECRET", text = "{secret}"),
  ],
  globalOutbound = "internet",
);
{own}"#
    )
}
