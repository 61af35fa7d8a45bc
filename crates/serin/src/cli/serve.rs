//! `serin serve`: models behind an address.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use clap::error::ErrorKind;
use serin_core::capture::{CaptureMode, CaptureOptions};
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::{EndpointSettings, ONLY_VARIANT, Settings, VariantSettings};
use tokio::sync::mpsc;

use super::args::{Cli, ServeArgs, ServingPlaceArgs};
use super::exit::Exit;
use super::settings::Overrides;
use super::{files, printer};
use crate::gateway::endpoint::{Endpoint, Snapshot, Variant};
use crate::gateway::judge::served_model;
use crate::gateway::lifecycle::{Ready, ServeError, ServeOptions, Signals, serve};
use crate::gateway::limits::Limits;
use crate::gateway::model::ServedModel;
use crate::gateway::supply::Endpoints;
use crate::gateway::tls::TlsFiles;

/// Serves the models named on the command line, or those of the settings, until SIGTERM or Ctrl-C. SIGHUP reads
/// settings, models and certificate again.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    if args.models.is_empty() && settings.serve.endpoints.is_empty() {
        let say = "name a model, as in `serin serve model.serin`, or [[serve.endpoints]] in --config";
        Cli::error("serve", ErrorKind::MissingRequiredArgument, say).exit();
    }
    if args.name.is_some() && args.models.len() != 1 {
        let say = "--name is for one model; write NAME=MODEL for each of several";
        Cli::error("serve", ErrorKind::ArgumentConflict, say).exit();
    }
    let args = args.clone();
    let endpoints = Endpoints::new(move |_| read_snapshot(&self::settings(&args)?, &args));
    serve_until_stopped(&settings, endpoints)?.finish()
}

/// Serves what `endpoints` gives where `settings` say, until SIGTERM or Ctrl-C.
pub(super) fn serve_until_stopped(settings: &Settings, endpoints: Endpoints) -> anyhow::Result<End> {
    crate::telemetry::start();
    let succession = Succession::prepare(settings.serve.listen);
    let options = ServeOptions {
        listen: settings.serve.listen,
        admin_listen: settings.serve.admin_listen,
        tls: settings.serve.tls.clone().map(|(certificate, key)| TlsFiles { certificate, key }),
        proxies: settings.serve.proxies.clone(),
        capture: CaptureOptions::from_settings(&settings.serve.data_dir, &settings.capture),
        limits: Limits::default(),
        inherited: succession.inherited.clone(),
    };
    let keeps = options.capture.mode != CaptureMode::Off;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let mut socket = None;
    let hands_over = runtime.block_on(async {
        let signals = signals()?;
        let hands_over = signals.hands_over.clone();
        let on_ready = |ready: &Ready| {
            socket = Some(ready.socket.clone());
            tell(ready, scheme, keeps);
        };
        serve(options, endpoints, clock, signals, on_ready).await?;
        Ok::<_, ServeError>(hands_over.load(Ordering::Relaxed))
    })?;
    // Work that nobody waits for any more does not hold up the end.
    runtime.shutdown_background();
    Ok(match socket.filter(|_| hands_over) {
        Some(socket) => End::HandOver { program: succession.program, socket },
        None => End::Done,
    })
}

/// How serving ended.
pub(super) enum End {
    Done,
    /// The program as it is on disk now goes on, with the same socket: nobody is turned away in between.
    HandOver {
        program: PathBuf,
        socket: Arc<OwnedFd>,
    },
}

/// What one program needs to follow another.
struct Succession {
    /// This program's file, asked before anybody replaces it.
    program: PathBuf,
    inherited: Option<Arc<OwnedFd>>,
}

/// Says that the main port's socket is the standard input.
const INHERITED: &str = "SERIN_LISTENER";

impl Succession {
    fn prepare(listen: SocketAddr) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let socket = std::env::var_os(INHERITED)
            .filter(|from| from == "stdin")
            .and_then(|_| std::io::stdin().as_fd().try_clone_to_owned().ok());
        // It must be the address that is asked for.
        let is_it = |socket: &OwnedFd| {
            let listener = socket.try_clone().map(TcpListener::from).and_then(|socket| socket.local_addr());
            listener.is_ok_and(|found| listen.port() == 0 || found == listen)
        };
        Self { program, inherited: socket.filter(is_it).map(Arc::new) }
    }
}

impl End {
    /// Ends, or becomes the program that goes on: its process is this one's, so whoever watches it sees no end.
    pub(super) fn finish(self) -> anyhow::Result<Exit> {
        match self {
            Self::Done => Ok(Exit::Done),
            Self::HandOver { program, socket } => {
                tracing::info!("handing over to the program on disk");
                let mut next = std::process::Command::new(&program);
                next.args(std::env::args_os().skip(1)).env(INHERITED, "stdin").stdin(socket.try_clone()?);
                // Returns only when it failed.
                let error = std::os::unix::process::CommandExt::exec(&mut next);
                Err(error).with_context(|| format!("{}: cannot be started", program.display()))
            }
        }
    }
}

/// Waits until SIGTERM or Ctrl-C.
pub(super) async fn stopped() -> Result<(), ServeError> {
    let Signals { mut stop, reload, hands_over: _ } = signals()?;
    let _reload = reload;
    stop.recv().await;
    Ok(())
}

/// What the options of a place say about settings.
pub(super) fn place(args: &ServingPlaceArgs) -> Overrides {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    Overrides::new()
        .set("serve.listen", args.listen.map(|listen| listen.to_string()), "--listen")
        .set("serve.admin_listen", args.admin_listen.map(|listen| listen.to_string()), "--admin-listen")
        .set("serve.data_dir", path(&args.data_dir), "--data-dir")
        .set("serve.tls_certificate", path(&args.tls_certificate), "--tls-certificate")
        .set("serve.tls_key", path(&args.tls_key), "--tls-key")
}

/// SIGTERM and Ctrl-C stop, SIGHUP reloads, SIGUSR2 hands over to the program as it is on disk now.
///
/// # Errors
/// When the operating system gives no signals.
pub fn signals() -> Result<Signals, ServeError> {
    let (stopping, stop) = mpsc::channel(2);
    let (reloading, reload) = mpsc::channel(1);
    let hands_over = Arc::new(AtomicBool::new(false));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let hands_over = hands_over.clone();
        let mut upgrade = signal(SignalKind::user_defined2()).map_err(ServeError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = upgrade.recv() => hands_over.store(true, Ordering::Relaxed),
                    _ = hang_up.recv() => {
                        // One that is still waiting will see what changed since.
                        let _ = reloading.try_send(());
                        continue;
                    }
                }
                if stopping.send(()).await.is_err() {
                    return;
                }
                tracing::info!("asked to stop: answering the requests in hand; once more stops at once");
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        // Without SIGHUP nothing is ever sent here; the sender is kept so that the receiver waits.
        let _reloading = reloading;
        while tokio::signal::ctrl_c().await.is_ok() && stopping.send(()).await.is_ok() {
            tracing::info!("asked to stop: answering the requests in hand; once more stops at once");
        }
    });
    Ok(Signals { stop, reload, hands_over })
}

/// The name of an endpoint whose model lies in `file`: its stem, with what a name cannot have as hyphens.
#[must_use]
pub fn endpoint_name(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
    let hyphenated: String = stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    hyphenated.trim_matches('-').chars().take(63).collect::<String>().trim_end_matches('-').to_owned()
}

fn settings(args: &ServeArgs) -> anyhow::Result<Settings> {
    let overrides = place(&args.place).set("serve.default", args.default.clone(), "--default");
    Ok(overrides.load(args.place.config.as_deref())?)
}

/// Reads every model and puts the endpoints together.
fn read_snapshot(settings: &Settings, args: &ServeArgs) -> anyhow::Result<Snapshot> {
    let plans = if args.models.is_empty() {
        settings.serve.endpoints.clone()
    } else {
        args.models.iter().map(|model| plan(model, args)).collect()
    };
    let mut models: HashMap<PathBuf, Arc<ServedModel>> = HashMap::new();
    let mut endpoints = Vec::with_capacity(plans.len());
    for plan in plans {
        let mut variants = Vec::with_capacity(plan.variants.len());
        for VariantSettings { name, model, weight } in plan.variants {
            let served = match models.get(&model) {
                Some(served) => served.clone(),
                None => {
                    let served = Arc::new(served_model(files::read_model(&model, args.classes.as_deref())?));
                    models.insert(model, served.clone());
                    served
                }
            };
            variants.push(Variant::new(&name, weight, served));
        }
        let endpoint = Endpoint::new(&plan.name, variants, plan.sticky_header.as_deref());
        endpoints.push(endpoint.context("cannot serve")?);
    }
    Ok(Snapshot::new(endpoints, settings.serve.default.as_deref())?)
}

/// `NAME=FILE`, or a file whose stem is the name; `--name` names an only one.
fn plan(model: &str, args: &ServeArgs) -> EndpointSettings {
    // A file that is called so is meant as a file.
    let named = model.split_once('=').filter(|_| !Path::new(model).exists());
    let (name, file) = match named {
        Some((name, file)) => (name.to_owned(), PathBuf::from(file)),
        None => (endpoint_name(Path::new(model)), PathBuf::from(model)),
    };
    let name = args.name.clone().filter(|_| args.models.len() == 1).unwrap_or(name);
    let variant = VariantSettings { name: ONLY_VARIANT.to_owned(), model: file, weight: 1.0 };
    EndpointSettings { name, sticky_header: None, variants: vec![variant] }
}

fn tell(ready: &Ready, scheme: &str, keeps: bool) {
    if ready.snapshot.endpoints().is_empty() {
        let address = ready.address;
        printer::talk(&format!("nothing is deployed yet: {scheme}://{address} answers 503 until a model is"));
    }
    let only = ready.snapshot.endpoints().len() == 1;
    for endpoint in ready.snapshot.endpoints() {
        let name = endpoint.name();
        let path = if only { "/invocations".to_owned() } else { format!("/endpoints/{name}/invocations") };
        let versions: Vec<&str> = endpoint.variants().iter().map(|variant| variant.model.version()).collect();
        printer::talk(&format!(
            "{name} (model {}) on {scheme}://{}{path}",
            versions.join(", "),
            ready.address
        ));
    }
    let kept = if keeps {
        format!("kept in {}", ready.database.display())
    } else {
        "not kept (capture is off)".to_owned()
    };
    printer::talk(&format!("answers {kept}; metrics on http://{}/metrics", ready.admin_address));
}
