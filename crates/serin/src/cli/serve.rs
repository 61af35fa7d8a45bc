//! `serin serve`: models behind an address.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    serve_until_stopped(&settings, endpoints)
}

/// Serves what `endpoints` gives where `settings` say, until SIGTERM or Ctrl-C.
pub(super) fn serve_until_stopped(settings: &Settings, endpoints: Endpoints) -> anyhow::Result<Exit> {
    crate::telemetry::start();
    let options = ServeOptions {
        listen: settings.serve.listen,
        admin_listen: settings.serve.admin_listen,
        tls: settings.serve.tls.clone().map(|(certificate, key)| TlsFiles { certificate, key }),
        proxies: settings.serve.proxies.clone(),
        capture: CaptureOptions::from_settings(&settings.serve.data_dir, &settings.capture),
        limits: Limits::default(),
    };
    let keeps = options.capture.mode != CaptureMode::Off;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    runtime.block_on(async {
        serve(options, endpoints, clock, signals()?, |ready| tell(ready, scheme, keeps)).await
    })?;
    // Work that nobody waits for any more does not hold up the end.
    runtime.shutdown_background();
    Ok(Exit::Done)
}

/// Waits until SIGTERM or Ctrl-C.
pub(super) async fn stopped() -> Result<(), ServeError> {
    let Signals { mut stop, reload } = signals()?;
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

/// SIGTERM and Ctrl-C stop, SIGHUP reloads.
///
/// # Errors
/// When the operating system gives no signals.
pub fn signals() -> Result<Signals, ServeError> {
    let (stopping, stop) = mpsc::channel(2);
    let (reloading, reload) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(ServeError::Signals)?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
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
    Ok(Signals { stop, reload })
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
