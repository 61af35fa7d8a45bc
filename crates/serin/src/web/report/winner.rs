//! The model that was chosen: its members, their recipes and parameters, calibration and decision rule.

use super::{
    page::{Cell, Table, and_more, words},
    selection::facts_in_line,
    view::{CalibrationView, DecisionView, FactView, MemberView, WinnerView},
};
use crate::web::number;

const MOST_MEMBERS: usize = 12;
const MOST_CLASSES: usize = 30;

#[derive(Debug)]
pub struct Winner {
    pub summary: String,
    pub members: Vec<Member>,
    pub more: Option<String>,
    pub calibration: Option<String>,
    pub decision: Option<Decision>,
}

#[derive(Debug)]
pub struct Member {
    pub title: String,
    pub weight: Option<String>,
    pub steps: Vec<Step>,
    pub parameters: Vec<FactView>,
    pub resampled: Option<Table>,
}

#[derive(Debug)]
pub struct Step {
    pub name: String,
    pub parameters: String,
    pub effect: Option<String>,
}

#[derive(Debug)]
pub struct Decision {
    pub sentence: String,
    pub table: Option<Table>,
}

pub fn winner(view: &WinnerView) -> Winner {
    let n = view.members.len();
    Winner {
        summary: match n {
            0 | 1 => format!("{}, fitted on all training rows.", words(&view.family)),
            n => format!(
                "An ensemble of {} models, each fitted on all training rows; their probabilities are averaged with the \
                 weights shown.",
                number::count(n as u64)
            ),
        },
        members: view.members.iter().take(MOST_MEMBERS).map(|one| member(one, n > 1)).collect(),
        more: and_more(n, MOST_MEMBERS, "member", "members"),
        calibration: view.calibration.as_ref().map(calibration),
        decision: view.decision.as_ref().map(decision),
    }
}

fn member(view: &MemberView, is_one_of_many: bool) -> Member {
    let trial = view.trial.map_or(String::new(), |number| format!(" · trial {}", number::count(number)));
    let steps = view.recipe.iter().map(|step| Step {
        name: words(&step.name),
        parameters: facts_in_line(&step.parameters),
        effect: step.effect.clone(),
    });
    let resampled = (!view.resampled.is_empty()).then(|| {
        let headings = [("Class", "", false), ("Rows before", "", true), ("Rows after", "", true)];
        let mut table = Table::new("Resampled rows", &headings);
        table.fill(&view.resampled, MOST_CLASSES, ("class", "classes"), |class| {
            vec![
                Cell::name(&class.class),
                number::count(class.n_before).into(),
                number::count(class.n_after).into(),
            ]
        });
        table
    });
    Member {
        title: format!("{}{trial}", words(&view.family)),
        weight: is_one_of_many.then(|| number::percent(view.weight)),
        steps: steps.collect(),
        parameters: view.parameters.clone(),
        resampled,
    }
}

fn calibration(view: &CalibrationView) -> String {
    let mut text = match view.method.as_str() {
        "none" | "" => "The probabilities are the model's own: no calibration made them better out of fold.".to_owned(),
        "temperature" => {
            "Temperature scaling: all log-probabilities are divided by one number, which leaves the order of classes as \
             it is and only makes the model more or less sure."
                .to_owned()
        }
        "isotonic" => {
            "Isotonic calibration: each class's probability passes through a rising step function fitted out of fold, \
             then all are scaled to sum to 1."
                .to_owned()
        }
        other => format!("{}.", words(other)),
    };
    if !view.parameters.is_empty() {
        text.push_str(&format!(" Fitted: {}.", facts_in_line(&view.parameters)));
    }
    for (name, change) in [("log loss", view.log_loss), ("calibration error", view.calibration_error)] {
        if let Some((before, after)) = change {
            text.push_str(&format!(
                " Out-of-fold {name}: {} before, {} after.",
                number::score(before),
                number::score(after)
            ));
        }
    }
    text
}

fn decision(view: &DecisionView) -> Decision {
    let mut sentence = match view.rule.as_str() {
        "largest-probability" | "" => "The class with the largest probability is decided.".to_owned(),
        "class-weights" => {
            "Each probability is multiplied by its class's weight, and the class with the largest product is decided. A \
             weight above 1 finds more rows of a class at the price of more false alarms."
                .to_owned()
        }
        "thresholds" => {
            "Each probability is divided by its class's threshold, and the class with the largest quotient is decided. A \
             low threshold finds more rows of a class at the price of more false alarms."
                .to_owned()
        }
        other => format!("{}.", words(other)),
    };
    if let Some((before, after)) = view.score {
        sentence.push_str(&format!(
            " Out of fold this moves the optimised metric from {} (largest probability) to {}.",
            number::score(before),
            number::score(after)
        ));
    }
    let table = (!view.factors.is_empty()).then(|| {
        let factor = if view.rule == "thresholds" { "Threshold" } else { "Weight" };
        let mut table = Table::new("Decision rule", &[("Class", "", false), (factor, "decision-rule", true)]);
        table.fill(&view.factors, MOST_CLASSES, ("class", "classes"), |factor| {
            vec![Cell::name(&factor.class), number::significant(factor.value, 3).into()]
        });
        table
    });
    Decision { sentence, table }
}
