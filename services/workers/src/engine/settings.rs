//! What a process of the engine is told: `config.capnp` (`workerd.capnp` of the engine describes it).

/// Where code asks for its assets, in the folder of the run.
pub(crate) const ASSETS_SOCKET: &str = "assets.sock";
/// Where Workers ask for what they keep in the cache.
pub(crate) const CACHE_SOCKET: &str = "cache.sock";
/// Where code is asked for, in the folder of the run.
pub(crate) const CODE_SOCKET: &str = "code.sock";
/// Where Durable Objects are asked.
pub(crate) const DURABLE_SOCKET: &str = "durable.sock";
/// Where what Workers fetch is asked for.
pub(crate) const EGRESS_SOCKET: &str = "egress.sock";
/// Where keys and values are asked for.
pub(crate) const KV_SOCKET: &str = "kv.sock";
/// Where messages are sent.
pub(crate) const QUEUE_SOCKET: &str = "queue.sock";
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

/// What hosts Durable Objects reads beside it, and the sources of that.
pub(crate) const HOST_SOURCES: [(&str, &str); 4] = [
    ("host.js", include_str!("../durable/host.js")),
    ("class.js", include_str!("../durable/class.js")),
    ("durable_objects.js", crate::program::DURABLE_OBJECTS),
    ("values.js", crate::program::VALUES),
];

/// What a process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Runs<'a> {
    /// Workers.
    Workers,
    /// An account's Durable Objects, which it keeps in this folder, as seen from the folder of the run. Letters, digits and what
    /// joins folders.
    Objects(&'a str),
    /// One version: the Worker `own` of these settings.
    One(&'a str),
}

/// The parts of the settings in which processes differ.
struct Parts<'a> {
    /// The service that requests are for.
    asked: &'static str,
    services: String,
    modules: &'static str,
    bindings: &'static str,
    storage: &'static str,
    own: &'a str,
}

impl<'a> Parts<'a> {
    fn of(runs: Runs<'a>) -> Self {
        let plain = Self {
            asked: "dispatcher",
            services: String::new(),
            modules: "",
            bindings: "",
            storage: "",
            own: "",
        };
        let folder = match runs {
            Runs::Workers => return plain,
            Runs::One(own) => {
                let services = "(name = \"own\", worker = .own),".to_owned();
                return Self { asked: "own", services, own, ..plain };
            }
            Runs::Objects(folder) => folder,
        };
        debug_assert!(folder.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"./".contains(&octet)));
        Self {
            services: format!("(name = \"objects\", disk = (path = \"{folder}\", writable = true)),"),
            modules: r#"(name = "host.js", esModule = embed "host.js"),
    (name = "values.js", esModule = embed "values.js"),
    (name = "class.txt", text = embed "class.js"),
    (name = "durable_objects.txt", text = embed "durable_objects.js"),
    (name = "values.txt", text = embed "values.js"),"#,
            bindings: r#"(name = "SUPERVISORS", durableObjectNamespace = "Supervisor"),
    (name = "REGISTRY", durableObjectNamespace = "Registry"),"#,
            // The keys name folders: what lies there is found by them, in every release.
            storage: r#"durableObjectNamespaces = [
    (className = "Supervisor", uniqueKey = "objects", enableSql = true),
    (className = "Registry", uniqueKey = "registry", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),"#,
            ..plain
        }
    }
}
/// What it counts by.
pub(crate) const BUDGETS: &str = "budgets.js";
/// Its source.
pub(crate) const BUDGETS_SOURCE: &str = include_str!("budgets.js");

/// The settings of a process with this secret, which has letters and digits only. The socket `http` is given by its
/// descriptor. Nothing leads anywhere but to the node.
pub(crate) fn process_settings(secret: &str, runs: Runs<'_>) -> String {
    debug_assert!(secret.bytes().all(|octet| octet.is_ascii_alphanumeric()));
    let facts = crate::facts::FIELD;
    let Parts { asked, services, modules, bindings, storage, own } = Parts::of(runs);
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "dispatcher", worker = .dispatcher),
    (name = "assets", external = (
      address = "unix:{ASSETS_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    {services}
    (name = "cache", external = (
      address = "unix:{CACHE_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    (name = "durable", external = (
      address = "unix:{DURABLE_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    (name = "code", external = (address = "unix:{CODE_SOCKET}", http = (cfBlobHeader = "{facts}"))),
    (name = "egress", external = (
      address = "unix:{EGRESS_SOCKET}",
      http = (style = proxy, cfBlobHeader = "{facts}"))),
    (name = "kv", external = (address = "unix:{KV_SOCKET}", http = (cfBlobHeader = "{facts}"))),
    (name = "queue", external = (address = "unix:{QUEUE_SOCKET}", http = (cfBlobHeader = "{facts}"))),
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
  modules = [{modules}
    (name = "{DISPATCHER}", esModule = embed "{DISPATCHER}"),
    (name = "{BUDGETS}", esModule = embed "{BUDGETS}")],
  compatibilityDate = "2026-11-01",
  # Its stubs of Workers have `scheduled` and `queue`.
  compatibilityFlags = ["experimental", "service_binding_extra_handlers"],
  bindings = [
    (name = "LOADER", workerLoader = ()),
    (name = "ASSETS", service = "assets"),
    {bindings}
    (name = "CACHE", service = "cache"),
    (name = "CODE", service = "code"),
    (name = "DURABLE", service = "durable"),
    (name = "EGRESS", service = "egress"),
    (name = "KV", service = "kv"),
    (name = "QUEUE", service = "queue"),
    # A queue of the engine's own, for what only it can write: structured clones.
    (name = "SERIALIZER", queue = (name = "dispatcher", entrypoint = "Serializer")),
    (name = "R2", service = "r2"),
    (name = "TAIL", service = "tail"),
    (name = "SECRET", text = "{secret}"),
  ],
  {storage}
  globalOutbound = "internet",
);
{own}"#
    )
}
