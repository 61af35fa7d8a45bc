//! What an inference request asks.

use super::tensor::{Datatype, Tensor};
use super::{CLASS, PROBABILITIES};
use crate::gateway::json_reader::{JsonReader, Kind};
use crate::gateway::limits::Limits;
use crate::gateway::media::text_of;
use crate::gateway::problem::{Code, Problem, echo};
use crate::gateway::rows::RowBuilder;

/// Most dimensions of a tensor.
const DIMENSIONS: usize = 8;
/// No array of the level has been read yet; none can be so long.
const UNKNOWN: usize = usize::MAX;

/// A request once its tensors were read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InferRequest {
    /// The caller's own id, echoed.
    pub id: Option<String>,
    pub inputs: Vec<Tensor>,
    /// What shall be answered, in this order.
    pub outputs: Vec<Output>,
}

/// One tensor to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    pub kind: OutputKind,
    /// As bytes behind the JSON instead of within it.
    pub is_binary: bool,
}

/// Which tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    Probabilities,
    Class,
}

/// A tensor whose data may still stand behind the JSON.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    datatype: Option<Datatype>,
    shape: Option<Vec<usize>>,
    data: Option<Data>,
    binary_bytes: Option<usize>,
}

/// `data` as it stands in JSON: nested as the shape says, or flat.
#[derive(Default)]
struct Data {
    values: Vec<f64>,
    /// How many elements the arrays of each level have.
    lengths: Vec<usize>,
    /// Arrays of one level differ in length, or values stand at different levels.
    is_ragged: bool,
    has_booleans: bool,
}

/// Reads a body of which the first `header_bytes` are JSON (all of it without that number) and the rest tensors, for a
/// model of `n_features`.
///
/// # Errors
/// When it is not a request of the protocol, or a tensor is not what it says.
pub fn read(
    body: &[u8],
    header_bytes: Option<usize>,
    n_features: usize,
    limits: &Limits,
) -> Result<InferRequest, Problem> {
    let header_bytes = header_bytes.unwrap_or(body.len());
    let Some((header, binary)) = body.split_at_checked(header_bytes) else {
        return Err(invalid("the header length is beyond the end of the body"));
    };
    if header.is_empty() && !binary.is_empty() {
        return raw(binary);
    }
    let mut json = JsonReader::new(text_of(header)?, limits);
    if json.peek()? != Kind::Object {
        return Err(invalid("the body must be an object with `inputs`"));
    }
    let mut request = InferRequest::default();
    let mut drafts = None;
    let mut outputs = None;
    let mut all_binary = false;
    let mut members = json.enter()?;
    while let Some(key) = json.next_key(&mut members)? {
        match (&*key, json.peek()?) {
            ("id", Kind::String) => request.id = Some(json.string()?.into_owned()),
            ("parameters", Kind::Object) => {
                parameters(&mut json, |name, value| {
                    all_binary |= name == "binary_data_output" && value == Parameter::Boolean(true);
                })?;
            }
            ("inputs", Kind::Array) if drafts.is_none() => drafts = Some(inputs(&mut json, n_features)?),
            ("outputs", Kind::Array) if outputs.is_none() => outputs = Some(read_outputs(&mut json)?),
            ("inputs" | "outputs" | "id" | "parameters", _) => {
                return Err(invalid(&format!("`{key}` is of the wrong type, or there twice")));
            }
            _ => json.skip_value()?,
        }
    }
    json.end()?;
    let drafts = drafts.ok_or_else(|| invalid("`inputs` is missing"))?;
    let mut rest = binary;
    for draft in drafts {
        request.inputs.push(draft.finish(&mut rest)?);
    }
    if !rest.is_empty() {
        return Err(invalid(&format!("{} bytes stand behind the last tensor", rest.len())));
    }
    let all = || vec![(OutputKind::Probabilities, None), (OutputKind::Class, None)];
    let outputs = outputs.filter(|outputs| !outputs.is_empty()).unwrap_or_else(all);
    request.outputs = outputs
        .into_iter()
        .map(|(kind, is_binary)| Output { kind, is_binary: is_binary.unwrap_or(all_binary) })
        .collect();
    Ok(request)
}

impl InferRequest {
    /// Gives the rows to `builder`, whose guard checks them.
    ///
    /// # Errors
    /// When the shapes are not those of rows. Wrong values are noted in the builder.
    pub fn rows(&self, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
        match self.inputs.as_slice() {
            [] => Err(Problem::new(Code::NoRows, "there are no inputs")),
            // A model of one feature may have it by name, too: the values are the same.
            [tensor]
                if builder.guard().names().len() > 1 || builder.guard().position(&tensor.name).is_none() =>
            {
                whole_rows(tensor, builder)
            }
            tensors => columns(tensors, builder),
        }
    }
}

fn whole_rows(tensor: &Tensor, builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let n_features = builder.guard().names().len();
    let columns = match tensor.shape[..] {
        // One row without a dimension for rows is what its length says.
        [columns] | [_, columns] => columns,
        _ => return Err(invalid(&format!("shape {:?} is not [rows, {n_features}]", tensor.shape))),
    };
    if columns == 0 {
        return Err(Problem::new(Code::NoRows, format!("shape {:?} has no values", tensor.shape)));
    }
    for row in tensor.values.chunks(columns) {
        builder.begin_row()?;
        for value in row {
            builder.push_float(*value);
        }
        builder.end_row();
    }
    Ok(())
}

/// A tensor for each feature.
fn columns(tensors: &[Tensor], builder: &mut RowBuilder<'_>) -> Result<(), Problem> {
    let n_rows = tensors.first().map_or(0, |tensor| tensor.values.len());
    for tensor in tensors {
        let is_column = matches!(tensor.shape[..], [_] | [_, 1]);
        if !is_column || tensor.values.len() != n_rows {
            let detail = format!(
                "tensor `{}` has shape {:?}; send one of [rows, {}], or one of [rows] for each feature, all of one length",
                echo(&tensor.name),
                tensor.shape,
                builder.guard().names().len()
            );
            return Err(invalid(&detail));
        }
    }
    builder.begin_named_row()?;
    let places: Vec<Option<usize>> = tensors.iter().map(|tensor| builder.column_of(&tensor.name)).collect();
    builder.check_given();
    for i in 0..n_rows {
        builder.begin_named_row()?;
        for (tensor, place) in tensors.iter().zip(&places) {
            if let Some(column) = place {
                let value = builder.float(tensor.values[i], *column);
                builder.set(*column, value);
            }
        }
        builder.end_split_row(0, 0);
    }
    Ok(())
}

/// The extension's request without JSON: one row of doubles, answered in bytes.
fn raw(binary: &[u8]) -> Result<InferRequest, Problem> {
    let mut rest = binary;
    let count = binary.len() / 8;
    let draft = Draft {
        name: Some(super::FEATURES.to_owned()),
        datatype: Some(Datatype::Fp64),
        shape: Some(vec![1, count]),
        data: None,
        binary_bytes: Some(binary.len()),
    };
    let outputs = [OutputKind::Probabilities, OutputKind::Class];
    Ok(InferRequest {
        id: None,
        inputs: vec![draft.finish(&mut rest)?],
        outputs: outputs.map(|kind| Output { kind, is_binary: true }).to_vec(),
    })
}

fn inputs(json: &mut JsonReader<'_>, n_features: usize) -> Result<Vec<Draft>, Problem> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut elements = json.enter()?;
    while json.next_element(&mut elements)? {
        if json.peek()? != Kind::Object {
            return Err(invalid("each input must be an object"));
        }
        if drafts.len() >= n_features.max(1) {
            return Err(invalid("there are more inputs than the model has features"));
        }
        let mut draft = Draft::default();
        let mut members = json.enter()?;
        while let Some(key) = json.next_key(&mut members)? {
            match (&*key, json.peek()?) {
                ("name", Kind::String) if draft.name.is_none() => {
                    draft.name = Some(json.string()?.into_owned());
                }
                ("datatype", Kind::String) if draft.datatype.is_none() => {
                    draft.datatype = Some(Datatype::named(&json.string()?)?);
                }
                ("shape", Kind::Array) if draft.shape.is_none() => draft.shape = Some(shape(json)?),
                ("data", Kind::Array) if draft.data.is_none() => draft.data = Some(Data::read(json)?),
                ("parameters", Kind::Object) => parameters(json, |name, value| {
                    if let ("binary_data_size", Parameter::Number(text)) = (name, value) {
                        // One that is no count is longer than any body.
                        draft.binary_bytes = Some(text.parse().unwrap_or(usize::MAX));
                    }
                })?,
                ("name" | "datatype" | "shape" | "data" | "parameters", _) => {
                    return Err(invalid(&format!(
                        "`{key}` of an input is of the wrong type, or there twice"
                    )));
                }
                _ => json.skip_value()?,
            }
        }
        drafts.push(draft);
    }
    Ok(drafts)
}

fn shape(json: &mut JsonReader<'_>) -> Result<Vec<usize>, Problem> {
    let mut shape = Vec::new();
    let mut elements = json.enter()?;
    while json.next_element(&mut elements)? {
        let size = match json.peek()? {
            Kind::Number => json.number()?.parse().ok(),
            _ => None,
        };
        shape.push(size.ok_or_else(|| invalid("`shape` is an array of counts"))?);
        if shape.len() > DIMENSIONS {
            return Err(invalid(&format!("a tensor has at most {DIMENSIONS} dimensions")));
        }
    }
    Ok(shape)
}

impl Data {
    fn read(json: &mut JsonReader<'_>) -> Result<Self, Problem> {
        let mut data = Self::default();
        data.array(json, 0)?;
        Ok(data)
    }

    /// The array at `level`, whose opening bracket is next.
    fn array(&mut self, json: &mut JsonReader<'_>, level: usize) -> Result<(), Problem> {
        let (mut length, mut arrays) = (0, 0);
        let mut elements = json.enter()?;
        while json.next_element(&mut elements)? {
            length += 1;
            match json.peek()? {
                Kind::Array => {
                    arrays += 1;
                    self.array(json, level + 1)?;
                }
                Kind::Number => {
                    let text = json.number()?;
                    let value: f64 = text.parse().unwrap_or(f64::INFINITY);
                    if value.is_infinite() {
                        let detail = format!("`{}` is too large", echo(text));
                        return Err(Problem::new(Code::NumberOutOfRange, detail));
                    }
                    self.values.push(value);
                }
                Kind::Boolean(value) => {
                    json.literal()?;
                    self.has_booleans = true;
                    self.values.push(f64::from(u8::from(value)));
                }
                Kind::Null => {
                    json.literal()?;
                    self.values.push(f64::NAN);
                }
                Kind::String | Kind::Object => {
                    let detail = "`data` holds something that is not a number";
                    return Err(Problem::new(Code::NotANumber, detail));
                }
            }
        }
        self.is_ragged |= arrays != 0 && arrays != length;
        // Levels are entered from the outside, and left from the inside.
        if self.lengths.len() <= level {
            self.lengths.resize(level + 1, UNKNOWN);
        }
        let known = &mut self.lengths[level];
        self.is_ragged |= *known != UNKNOWN && *known != length;
        *known = length;
        Ok(())
    }

    /// Whether it can be of `shape`: a flat one can be of any that has as many values.
    fn fits(&self, shape: &[usize]) -> bool {
        !self.is_ragged && (self.lengths.len() == 1 || self.lengths == shape)
    }
}

fn read_outputs(json: &mut JsonReader<'_>) -> Result<Vec<(OutputKind, Option<bool>)>, Problem> {
    let mut outputs = Vec::new();
    let mut elements = json.enter()?;
    while json.next_element(&mut elements)? {
        if json.peek()? != Kind::Object {
            return Err(invalid("each output must be an object"));
        }
        let (mut kind, mut is_binary) = (None, None);
        let mut members = json.enter()?;
        while let Some(key) = json.next_key(&mut members)? {
            match (&*key, json.peek()?) {
                ("name", Kind::String) => {
                    kind = Some(match &*json.string()? {
                        PROBABILITIES => OutputKind::Probabilities,
                        CLASS => OutputKind::Class,
                        other => {
                            let other = echo(other);
                            let detail = format!(
                                "there is no output `{other}`; there are `{PROBABILITIES}` and `{CLASS}`"
                            );
                            return Err(invalid(&detail));
                        }
                    });
                }
                ("parameters", Kind::Object) => parameters(json, |name, value| {
                    if let ("binary_data", Parameter::Boolean(value)) = (name, value) {
                        is_binary = Some(value);
                    }
                })?,
                _ => json.skip_value()?,
            }
        }
        let kind = kind.ok_or_else(|| invalid("an output has a `name`"))?;
        if outputs.iter().any(|(other, _)| *other == kind) {
            return Err(invalid("an output is asked for twice"));
        }
        outputs.push((kind, is_binary));
    }
    Ok(outputs)
}

/// The value of a parameter, as far as it is of interest.
#[derive(PartialEq)]
enum Parameter<'a> {
    Boolean(bool),
    Number(&'a str),
    Other,
}

fn parameters<'a>(
    json: &mut JsonReader<'a>,
    mut each: impl FnMut(&str, Parameter<'a>),
) -> Result<(), Problem> {
    let mut members = json.enter()?;
    while let Some(key) = json.next_key(&mut members)? {
        let value = match json.peek()? {
            Kind::Boolean(value) => {
                json.literal()?;
                Parameter::Boolean(value)
            }
            Kind::Number => Parameter::Number(json.number()?),
            _ => {
                json.skip_value()?;
                Parameter::Other
            }
        };
        each(&key, value);
    }
    Ok(())
}

impl Draft {
    /// The tensor, its data taken from the front of `binary` when they are there.
    fn finish(self, binary: &mut &[u8]) -> Result<Tensor, Problem> {
        let missing = |what: &str| invalid(&format!("an input has no `{what}`"));
        let name = self.name.ok_or_else(|| missing("name"))?;
        let datatype = self.datatype.ok_or_else(|| missing("datatype"))?;
        let shape = self.shape.ok_or_else(|| missing("shape"))?;
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let values = match (self.data, self.binary_bytes) {
            (Some(data), None) if data.has_booleans && datatype != Datatype::Bool => {
                return Err(Problem::new(Code::WrongType, "`true` and `false` are of type BOOL"));
            }
            (Some(data), None) if !data.fits(&shape) => {
                return Err(invalid(&format!(
                    "`data` of tensor `{}` is not nested as its shape says",
                    echo(&name)
                )));
            }
            (Some(data), None) => data.values,
            (None, Some(bytes)) => {
                let Some((own, rest)) = binary.split_at_checked(bytes) else {
                    let detail = format!("tensor `{}` ends beyond the body", echo(&name));
                    return Err(invalid(&detail));
                };
                if !bytes.is_multiple_of(datatype.width()) {
                    return Err(invalid(&format!(
                        "tensor `{}` is not a whole number of values",
                        echo(&name)
                    )));
                }
                *binary = rest;
                datatype.decode(own)
            }
            (Some(_), Some(_)) => return Err(invalid("an input has both `data` and `binary_data_size`")),
            (None, None) => return Err(missing("data")),
        };
        if count != Some(values.len()) {
            let detail = format!("tensor `{}` of shape {shape:?} has {} values", echo(&name), values.len());
            return Err(invalid(&detail));
        }
        Ok(Tensor { name, datatype, shape, values })
    }
}

fn invalid(detail: &str) -> Problem {
    Problem::new(Code::InvalidTensor, detail)
}
