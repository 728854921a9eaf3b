//! The parameters of a request, by position or by name.

use bitcoin::Txid;
use serde_json::Value;

use super::Refusal;
use crate::chain::ScriptHash;

/// The parameters of one request, each at its place.
#[derive(Debug)]
pub(super) struct Args {
    names: &'static [&'static str],
    values: Vec<Option<Value>>,
}

impl Args {
    /// Puts the parameters in the order of `names`.
    pub(super) fn read(params: Value, names: &'static [&'static str]) -> Result<Self, Refusal> {
        let mut values = vec![None; names.len()];
        match params {
            Value::Null => {}
            Value::Array(given) if given.len() > names.len() => {
                let (given, most) = (given.len(), names.len());
                let why = format!("there are {given}, the method has {most}");
                return Err(Refusal::invalid_params(why));
            }
            Value::Array(given) => {
                for (slot, value) in values.iter_mut().zip(given) {
                    *slot = Some(value);
                }
            }
            Value::Object(given) => {
                for (name, value) in given {
                    let Some(at) = names.iter().position(|own| *own == name) else {
                        let shown: String = name.chars().take(80).collect();
                        return Err(Refusal::invalid_params(format!("there is no `{shown}`")));
                    };
                    values[at] = Some(value);
                }
            }
            _ => {
                return Err(Refusal::invalid_params(
                    "they are neither a list nor an object",
                ));
            }
        }
        Ok(Args { names, values })
    }

    /// The parameter at a place; `None` when it is absent or null.
    pub(super) fn get(&self, at: usize) -> Option<&Value> {
        let value = self.values.get(at)?.as_ref();
        value.filter(|value| !value.is_null())
    }

    fn wrong(&self, at: usize, is: &str) -> Refusal {
        let name = self.names.get(at).copied().unwrap_or_default();
        match self.get(at) {
            Some(_) => Refusal::invalid_params(format!("`{name}` is not {is}")),
            None => Refusal::invalid_params(format!("`{name}` is missing; it is {is}")),
        }
    }

    pub(super) fn number(&self, at: usize) -> Result<usize, Refusal> {
        let number = self.get(at).and_then(Value::as_u64);
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| self.wrong(at, "a whole number that is not negative"))
    }

    pub(super) fn number_or(&self, at: usize, default: usize) -> Result<usize, Refusal> {
        self.get(at).map_or(Ok(default), |_| self.number(at))
    }

    pub(super) fn flag_or(&self, at: usize, default: bool) -> Result<bool, Refusal> {
        match self.get(at) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(at, "true or false")),
        }
    }

    pub(super) fn text(&self, at: usize, is: &str) -> Result<&str, Refusal> {
        let text = self.get(at).and_then(Value::as_str);
        text.ok_or_else(|| self.wrong(at, is))
    }

    pub(super) fn script(&self, at: usize) -> Result<ScriptHash, Refusal> {
        const IS: &str = "a script hash of 64 hexadecimal digits";
        ScriptHash::parse(self.text(at, IS)?).ok_or_else(|| self.wrong(at, IS))
    }

    pub(super) fn txid(&self, at: usize) -> Result<Txid, Refusal> {
        const IS: &str = "a transaction hash of 64 hexadecimal digits";
        self.text(at, IS)?.parse().map_err(|_| self.wrong(at, IS))
    }
}
