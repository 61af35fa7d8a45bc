//! What a report shows, as plain strings and numbers.
//!
//! Nothing here knows how a model was trained: the command that trains fills these structs and the page only
//! reads them. `None` and an empty list mean "not measured"; the page then says so or leaves the part out.
//! A number that is not finite counts as not measured. Names may be any text: the page escapes them.
//!
//! Metrics go by the names a user writes in the configuration (`macro-f1`, `log-loss`, ...); the page has a title
//! and a definition for each that it knows (see `glossary`) and shows any other name as it is.

/// One training run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportView {
    /// What the run is about: the project's name, or the training file's.
    pub title: String,
    /// When the run was made, already written out; `None` where the report must not depend on the clock.
    pub made_at: Option<String>,
    /// `None`: no gate was configured, so nothing was asked of the model.
    pub gate: Option<GateView>,
    /// `None`: the run ended before anything could be measured.
    pub evaluation: Option<EvaluationView>,
    pub data: DataView,
    pub selection: SelectionView,
    pub winner: Option<WinnerView>,
    /// In any order; the page sorts by permutation importance, then gain.
    pub importances: Vec<ImportanceView>,
    /// How permutation importances were measured, e.g. `mean drop in macro-f1 over 5 shuffles of the hold-out`.
    pub permutation_note: Option<String>,
    /// Points in ascending number of rows.
    pub learning_curve: Vec<LearningPointView>,
    /// Wall-clock time by phase, in the order in which they ran.
    pub phases: Vec<PhaseView>,
    pub lineage: LineageView,
}

/// A value with its interval (both ends in the value's own unit), where one was computed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    pub value: f64,
    /// Lower and upper end.
    pub interval: Option<(f64, f64)>,
}

/// A setting or a fact with its value, both as shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactView {
    pub name: String,
    pub value: String,
}

// ---- verdict

#[derive(Debug, Clone, Default, PartialEq)]
pub struct GateView {
    pub passed: bool,
    /// Every rule that was judged, the kept ones too.
    pub findings: Vec<GateFindingView>,
    /// Only when a champion bundle was given.
    pub champion: Option<ChampionView>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct GateFindingView {
    /// The rule as the configuration names it, e.g. `minimum macro-f1` or `recall of "normal"`.
    pub rule: String,
    pub passed: bool,
    /// `None`: could not be measured (which never passes).
    pub measured: Option<f64>,
    pub required: Option<RequirementView>,
    pub unit: Unit,
    /// One sentence: why it was refused, or what was looked at.
    pub explanation: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RequirementView {
    AtLeast(f64),
    AtMost(f64),
    /// Strictly more, e.g. than the dummy.
    MoreThan(f64),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unit {
    /// A metric, shown with three decimals.
    #[default]
    Score,
    /// Whole things: rows, columns.
    Count,
    /// A share of 1, shown as per cent.
    Share,
}

/// Champion against challenger on the same rows (paired bootstrap).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChampionView {
    pub digest: String,
    pub metric: String,
    pub champion: Measured,
    pub challenger: Measured,
    /// Challenger minus champion.
    pub difference: Measured,
}

// ---- evaluation

#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvaluationView {
    pub source: EvaluationSource,
    pub n_rows: u64,
    /// Level of every interval, e.g. 0.95.
    pub interval_level: f64,
    /// How intervals were made, e.g. `1,000 stratified bootstrap samples`.
    pub interval_method: String,
    /// The first is the metric that was optimised, the others in order of interest.
    pub metrics: Vec<MetricView>,
    /// One a class, in class order.
    pub classes: Vec<ClassEvaluationView>,
    /// `confusion[truth][decision]` in rows, class order; empty when unknown.
    pub confusion: Vec<Vec<u64>>,
    /// Bins of the probability of the most probable class; empty when unknown.
    pub reliability: Vec<ReliabilityBinView>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EvaluationSource {
    /// Rows that took no part in training or selection.
    #[default]
    HoldOut,
    /// Training rows, each predicted by a model fitted without it. Selection saw these scores.
    OutOfFold,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricView {
    /// As in the configuration, e.g. `macro-f1`.
    pub name: String,
    /// `None`: undefined on these rows (one class only, for instance).
    pub value: Option<Measured>,
    /// The same metric of the majority-class dummy on the same rows.
    pub dummy: Option<f64>,
    /// The same metric out of fold on the training rows, when `source` is the hold-out.
    pub cross_validated: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassEvaluationView {
    pub name: String,
    /// Rows whose truth is this class.
    pub n_rows: u64,
    /// Rows that were decided to be this class.
    pub n_decided: u64,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<Measured>,
    /// One against the rest.
    pub roc_auc: Option<f64>,
    /// Average precision, one against the rest.
    pub pr_auc: Option<f64>,
    /// (false positive rate, true positive rate), from (0, 0) to (1, 1); any number of points.
    pub roc: Vec<(f64, f64)>,
    /// (recall, precision) in ascending recall.
    pub precision_recall: Vec<(f64, f64)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReliabilityBinView {
    pub low: f64,
    pub high: f64,
    pub n_rows: u64,
    pub mean_predicted: f64,
    /// Share of rows that were right.
    pub observed: f64,
}

// ---- data

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DataView {
    pub target: String,
    /// Training rows.
    pub n_rows: u64,
    /// Columns used as inputs.
    pub n_features: u64,
    /// Columns set aside by the user.
    pub ignored: Vec<String>,
    pub fingerprint: Option<String>,
    pub sources: Vec<SourceView>,
    /// In class order.
    pub classes: Vec<ClassCountView>,
    /// One an input column, in file order.
    pub columns: Vec<ColumnView>,
    pub findings: Vec<DataFindingView>,
    pub overlap: Option<OverlapView>,
    pub correlation: Option<CorrelationView>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceView {
    pub name: String,
    pub role: SourceRole,
    pub n_rows: u64,
    pub n_bytes: Option<u64>,
    pub digest: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SourceRole {
    #[default]
    Training,
    HoldOut,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassCountView {
    pub name: String,
    pub n_training: u64,
    /// `None` when there is no hold-out.
    pub n_hold_out: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnView {
    pub name: String,
    /// `number`, `integer` or `boolean`.
    pub kind: String,
    pub n_missing: u64,
    pub n_distinct: Option<u64>,
    pub minimum: Option<f64>,
    pub median: Option<f64>,
    pub mean: Option<f64>,
    pub maximum: Option<f64>,
    pub standard_deviation: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DataFindingView {
    pub severity: Severity,
    /// A short noun phrase: `constant columns`, `rows that are also in the hold-out`.
    pub what: String,
    /// One or two sentences with the numbers.
    pub explanation: String,
    /// Columns, rows or classes concerned, all of them; the page shows the first few and says how many more.
    pub examples: Vec<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    #[default]
    Note,
}

/// Rows that training and hold-out share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlapView {
    pub n_hold_out: u64,
    /// Hold-out rows equal to a training row in every input.
    pub n_exact: u64,
    /// Hold-out rows nearly equal to a training row, exact ones not counted.
    pub n_near: u64,
    /// Exact and near rows by class, in class order; may be empty.
    pub by_class: Vec<ClassOverlapView>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassOverlapView {
    pub name: String,
    pub n_shared: u64,
    pub n_hold_out: u64,
}

/// Pearson correlations of some columns, the most important ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CorrelationView {
    pub names: Vec<String>,
    /// Square, row-major in the order of `names`; NaN where undefined. The page draws the first 60.
    pub values: Vec<Vec<f64>>,
    /// How the columns were chosen, e.g. `the 60 most important of 151`.
    pub chosen_by: String,
}

// ---- selection

#[derive(Debug, Clone, Default, PartialEq)]
pub struct SelectionView {
    /// The metric that was optimised, e.g. `macro-f1`.
    pub metric: String,
    pub lower_is_better: bool,
    pub n_folds: u64,
    pub n_repeats: u64,
    /// As the user wrote it: `60s` or `30 trials`.
    pub budget: Option<String>,
    /// Ended by Ctrl-C or by a time limit with work left.
    pub interrupted: bool,
    /// In any order; the page sorts best first. Includes the dummy, the reference recipe and the ensemble.
    pub trials: Vec<TrialView>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrialView {
    /// As the leaderboard numbers them, from 1.
    pub number: u64,
    pub kind: TrialKind,
    pub chosen: bool,
    /// `gradient-boosting`, `extra-trees`, ...
    pub family: String,
    /// The recipe in a few words, e.g. `impute median · scale robust`.
    pub recipe: String,
    pub parameters: Vec<FactView>,
    pub outcome: TrialOutcome,
    /// Mean out-of-fold score with its interval; the folds that were run if the trial was stopped early.
    pub score: Option<Measured>,
    pub seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrialKind {
    /// A default or a suggestion of the search.
    #[default]
    Search,
    MajorityDummy,
    /// The preset `reference`.
    ReferenceRecipe,
    Ensemble,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrialOutcome {
    #[default]
    Finished,
    /// Given up as hopeless after some folds.
    StoppedEarly {
        n_folds: u64,
    },
    Failed {
        reason: String,
    },
}

// ---- winner

#[derive(Debug, Clone, Default, PartialEq)]
pub struct WinnerView {
    /// `gradient-boosting`, or `ensemble` when there are several members.
    pub family: String,
    /// One for a single model, with weight 1.
    pub members: Vec<MemberView>,
    pub calibration: Option<CalibrationView>,
    pub decision: Option<DecisionView>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemberView {
    /// Number of the trial in the leaderboard.
    pub trial: Option<u64>,
    pub family: String,
    /// Share of the vote; the members' weights sum to 1.
    pub weight: f64,
    /// Steps in the order in which they are applied.
    pub recipe: Vec<RecipeStepView>,
    pub parameters: Vec<FactView>,
    /// Rows by class before and after resampling; empty when the recipe does not resample.
    pub resampled: Vec<ResampledView>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipeStepView {
    /// `impute`, `scale`, `drop-correlated`, ...
    pub name: String,
    pub parameters: Vec<FactView>,
    /// What it did when fitted on all training rows, e.g. `151 columns in, 118 out`.
    pub effect: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResampledView {
    pub class: String,
    pub n_before: u64,
    pub n_after: u64,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct CalibrationView {
    /// `temperature`, `isotonic` or `none`.
    pub method: String,
    pub parameters: Vec<FactView>,
    /// Out of fold, uncalibrated and calibrated.
    pub log_loss: Option<(f64, f64)>,
    /// Out of fold, uncalibrated and calibrated.
    pub calibration_error: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DecisionView {
    /// `largest-probability`, `class-weights` or `thresholds`.
    pub rule: String,
    /// Weight or threshold by class, in class order; empty for `largest-probability`.
    pub factors: Vec<ClassFactorView>,
    /// The optimised metric out of fold, with the largest probability and with this rule.
    pub score: Option<(f64, f64)>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClassFactorView {
    pub class: String,
    pub value: f64,
}

// ---- the rest

#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportanceView {
    pub feature: String,
    /// Share of the model's total gain, 0 to 1.
    pub gain: Option<f64>,
    /// Loss of the optimised metric when this column is shuffled.
    pub permutation: Option<Measured>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LearningPointView {
    pub n_rows: u64,
    /// On rows the model has not seen.
    pub score: Measured,
    /// On the rows it was fitted on.
    pub training_score: Option<f64>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseView {
    pub name: String,
    pub seconds: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LineageView {
    pub bundle_digest: Option<String>,
    pub data_fingerprint: Option<String>,
    pub recipe_digest: Option<String>,
    pub config_digest: Option<String>,
    pub seed: Option<u64>,
    pub n_threads: Option<u64>,
    /// What was typed.
    pub command: Option<String>,
    /// Serin, the boosting library, the bundle format, ...
    pub versions: Vec<FactView>,
}
