//! `channel` and `end`.

#![forbid(unsafe_code)]

use super::build::Builder;
use super::context::{Shape, quoted};
use super::document::Element;
use super::limits::MAX_ID;
use super::setvar::{self, Value};
use super::system::{Channel, End, PdIndex, SetVarValue};

const SHAPE: Shape = Shape { attributes: &[], children: &["end"] };

const END_SHAPE: Shape = Shape { attributes: &["pd", "id", "pp", "notify", "setvar_id"], children: &[] };

/// Reads a `channel`, when every PD is known.
pub(super) fn read<'s>(b: &mut Builder<'s>, element: &Element<'s>) {
    b.cx.shape(element, &SHAPE);
    let elements: Vec<_> = element.children_called("end").collect();
    if elements.len() != 2 {
        let message = format!("a channel has two ends, this one has {}", elements.len());
        b.cx.error_help(&element.span, message, "add or remove an `end`");
    }
    let ends: Vec<Option<End>> = elements.iter().map(|end| read_end(b, end)).collect();
    let (Ok([one, other]), &[first, second]) = (<[_; 2]>::try_from(ends), elements.as_slice()) else {
        return;
    };
    let (Some(one), Some(other)) = (one, other) else {
        return;
    };
    if one.pp && other.pp {
        let message = "both ends have `pp`: two PDs that call each other would wait for ever";
        let span = second.attribute("pp").map_or(&second.span, |pp| &pp.span);
        b.cx.error_help(span, message, "let only the PD with the lower priority call");
    } else if one.pp {
        check_priorities(b, first, one.pd, other.pd);
    } else if other.pp {
        check_priorities(b, second, other.pd, one.pd);
    }
    b.channels.push(Channel { ends: [one, other], span: element.span.clone() });
}

fn read_end<'s>(b: &mut Builder<'s>, element: &Element<'s>) -> Option<End> {
    b.cx.shape(element, &END_SHAPE);
    let name = b.cx.required(element, "pd");
    let pd = name.and_then(|attribute| b.find_pd(attribute));
    let id = b.cx.id(element, MAX_ID);
    let pp = b.cx.boolean(element, "pp", false);
    let notify = b.cx.boolean(element, "notify", true);
    let (pd, id) = (pd?, id?);
    b.claim_channel_id(pd, id, element);
    if let Some(attribute) = element.attribute("setvar_id") {
        setvar::set(b, pd, attribute, "setvar_id", Value::Known(SetVarValue::Id(id)));
    }
    Some(End { pd, id, pp, notify, span: element.span.clone() })
}

/// A call raises nobody's priority: the callee's must be the higher one already.
fn check_priorities(b: &mut Builder<'_>, end: &Element<'_>, caller: PdIndex, callee: PdIndex) {
    let [from, to] = [caller, callee].map(|index| &b.pds[index.0]);
    let (Some(low), Some(high)) = (from.priority, to.priority) else {
        return;
    };
    if low < high {
        return;
    }
    let message = format!(
        "{} (priority {low}) may not call {} (priority {high}): a caller's priority must be lower",
        quoted(&from.pd.name),
        quoted(&to.pd.name)
    );
    let help = match caller == callee {
        true => "a PD cannot call itself: remove `pp`".to_owned(),
        false => format!("raise the priority of {}", quoted(&to.pd.name)),
    };
    let span = end.attribute("pp").map_or(&end.span, |pp| &pp.span);
    b.cx.error_help(span, message, help);
}
