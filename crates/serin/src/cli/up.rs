//! `serin up` and `serin control`: the control plane of a data directory, with a gateway or without.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::Settings;

use super::args::ServingPlaceArgs;
use super::exit::Exit;
use super::gateway::routed;
use super::printer;
use super::serve::{place, serve_until_stopped, stopped};
use crate::api::app::app;
use crate::api::handlers;
use crate::api::limits::Limits;
use crate::api::origin::Hosts;
use crate::api::routes::ROUTES;
use crate::api::server::ApiServer;
use crate::control::{Control, ControlNote, ControlOptions};

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  serin init my-model --data train.csv --target target && serin up my-model\n  \
    serin up churn fraud --data-dir /var/lib/serin     # two projects, endpoints churn-dev, churn-prod, ..."
)]
pub struct UpArgs {
    /// Folders of projects, each with a serin.toml [default: this folder, or the projects known already]
    #[arg(value_name = "PROJECT", value_hint = clap::ValueHint::DirPath)]
    pub projects: Vec<PathBuf>,
    /// Address and port of the control interface [default: 127.0.0.1:8090]
    #[arg(long, value_name = "ADDRESS")]
    pub control_listen: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub place: ServingPlaceArgs,
}

/// Control plane and gateway in one process, until SIGTERM or Ctrl-C.
pub(super) fn up(args: &UpArgs) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    crate::telemetry::start();
    let plane = Plane::start(args, &settings)?;
    let end = serve_until_stopped(&settings, routed(&settings)?.endpoints());
    drop(plane);
    end?.finish()
}

/// The control plane alone.
pub(super) fn control(args: &UpArgs) -> anyhow::Result<Exit> {
    let settings = settings(args)?;
    crate::telemetry::start();
    let plane = Plane::start(args, &settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(stopped())?;
    drop(plane);
    Ok(Exit::Done)
}

/// A control plane that answers.
struct Plane {
    data_directory: PathBuf,
    // The interface ends before what it asks.
    _interface: ApiServer,
    _control: Arc<Control>,
}

impl Plane {
    fn start(args: &UpArgs, settings: &Settings) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let data_directory = settings.serve.data_dir.clone();
        let control = Control::start(ControlOptions {
            data_directory: data_directory.clone(),
            program: std::env::current_exe().context("this program cannot find itself")?,
            clock: clock.clone(),
            notify: settings.notify.clone(),
        })?;
        for folder in folders(args) {
            match control.add_project(&folder) {
                Ok(settings) => {
                    printer::talk(&format!("project {} in {}", settings.project, folder.display()));
                }
                // What was deployed is served whatever was written into a file since.
                Err(error) if control.knows(&folder) => {
                    printer::talk(&format!(
                        "warning: {error:#}; the project's runs wait until that is mended"
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        if control.store.projects()?.is_empty() {
            bail!(
                "there is no project: name a folder, as in `serin up my-model`, or make one with `serin init`"
            );
        }
        let control = Arc::new(control);
        let limits = Limits::default();
        let app = app(&ROUTES, handlers(control.clone()), Hosts::new(&[]), limits, clock);
        let interface = ApiServer::start("--control-listen", settings.control_listen, app, limits)?;
        let url = format!("http://{}", interface.address());
        (ControlNote { url: url.clone() })
            .write(&data_directory)
            .with_context(|| format!("{}: cannot be written", data_directory.display()))?;
        printer::talk(&format!("control interface on {url}; `serin status` shows what goes on"));
        Ok(Self { data_directory, _interface: interface, _control: control })
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Err(error) = ControlNote::remove(&self.data_directory) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "commands may look for this control plane in vain");
        }
    }
}

/// The projects named, or the one in this folder.
fn folders(args: &UpArgs) -> Vec<PathBuf> {
    match args.projects.is_empty() && Path::new("serin.toml").exists() {
        true => vec![PathBuf::from(".")],
        false => args.projects.clone(),
    }
}

/// The settings of the server: those of `--config`, else of the first project.
fn settings(args: &UpArgs) -> anyhow::Result<Settings> {
    let file = args.place.config.clone().or_else(|| Some(folders(args).first()?.join("serin.toml")));
    let listen = args.control_listen.map(|listen| listen.to_string());
    Ok(place(&args.place).set("control.listen", listen, "--control-listen").load(file.as_deref())?)
}
