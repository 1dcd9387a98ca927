//! Answers as text and as JSON. What the daemon says is bounded and printable already; nothing else gets in.

use protocol::control::{DisposableItem, LogItem, PendriveItem, Status};
use protocol::dialog::{Question, QuestionKind, Recipient};
use serde_json::{Value, json};

/// A JSON document on lines of its own.
pub(crate) fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

pub(crate) fn status(status: &Status) -> String {
    let word = |yes: bool, no: &'static str| if yes { "yes" } else { no };
    let workers: Vec<String> = status
        .workers
        .items()
        .iter()
        .map(|item| format!("{} {}", item.role, if item.up { "up" } else { "down" }))
        .collect();
    format!(
        "version:      {}\nserving:      {}\nuptime:       {}\nprocesses:    {}\ncan ask:      {}\n\
         questions:    {} open\nVMs:          {}\npendrives:    {} of {} (one VM: {})\n\
         MiB:          {} of {} (one VM: {})\nDisposableVMs: {}\nopen orders:  {}\n",
        status.version.as_str(),
        word(status.serving, "no: it is starting, or a process is missing"),
        age(status.uptime_ms),
        workers.join(", "),
        word(status.can_ask, "no: every question is answered no"),
        status.questions,
        status.vms,
        status.pendrives.used,
        status.pendrives.max,
        status.pendrives_per_vm_max,
        status.mib.used,
        status.mib.max,
        status.mib_per_vm_max,
        status.disposables,
        status.orders,
    )
}

pub(crate) fn status_json(status: &Status) -> Value {
    let workers: Vec<Value> = status
        .workers
        .items()
        .iter()
        .map(|item| json!({ "name": item.role.process(), "up": item.up }))
        .collect();
    json!({
        "version": status.version.as_str(),
        "serving": status.serving,
        "uptime_ms": status.uptime_ms,
        "processes": workers,
        "can_ask": status.can_ask,
        "questions": status.questions,
        "vms": status.vms,
        "pendrives": { "used": status.pendrives.used, "max": status.pendrives.max, "per_vm_max": status.pendrives_per_vm_max },
        "mib": { "used": status.mib.used, "max": status.mib.max, "per_vm_max": status.mib_per_vm_max },
        "disposables": status.disposables,
        "orders": status.orders,
    })
}

pub(crate) fn log_line(item: &LogItem) -> String {
    format!("{:>8} ago  {}: {}\n", age(item.age_ms), item.line.level, item.line.text.as_str())
}

pub(crate) fn log_json(item: &LogItem) -> Value {
    json!({
        "number": item.number,
        "age_ms": item.age_ms,
        "level": item.line.level.to_string(),
        "text": item.line.text.as_str(),
    })
}

pub(crate) fn pendrive(item: &PendriveItem) -> String {
    let mut line = format!("{}  {}  made by {}  {}", item.image, item.size, item.maker, item.state.word());
    if let Some(holder) = &item.holder {
        let name = holder.name.as_ref().map_or("gone", |name| name.as_str());
        line.push_str(&format!("  at {} of {name} (domain {})", holder.device.name(), holder.domid));
    }
    if let Some(to) = &item.to {
        line.push_str(&format!("  to {to}"));
    }
    if let Some(age_ms) = item.age_ms {
        line.push_str(&format!("  {} old", age(age_ms)));
    }
    line + "\n"
}

pub(crate) fn pendrive_json(item: &PendriveItem) -> Value {
    let holder = item.holder.as_ref().map(|holder| {
        json!({
            "domid": holder.domid.get(),
            "name": holder.name.as_ref().map(|name| name.as_str()),
            "device": holder.device.name(),
        })
    });
    json!({
        "id": item.image.to_string(),
        "size_mib": item.size.mib(),
        "maker": item.maker.as_str(),
        "state": item.state.word(),
        "holder": holder,
        "to": item.to.as_ref().map(recipient),
        "age_ms": item.age_ms,
    })
}

pub(crate) fn disposable(item: &DisposableItem) -> String {
    let mut line =
        format!("{}  {}  for {}, transaction {}", item.number, item.state.word(), item.source, item.seq);
    if let Some(domid) = item.domid {
        line.push_str(&format!("  domain {domid}"));
    }
    if let Some(age_ms) = item.age_ms {
        line.push_str(&format!("  {} old", age(age_ms)));
    }
    line + "\n"
}

pub(crate) fn disposable_json(item: &DisposableItem) -> Value {
    json!({
        "name": item.number.to_string(),
        "domid": item.domid.map(protocol::types::Domid::get),
        "source": item.source.as_str(),
        "seq": item.seq.get(),
        "state": item.state.word(),
        "age_ms": item.age_ms,
    })
}

pub(crate) fn question(question: &Question) -> String {
    let Question { source, target, size_mib, used_mib, .. } = question;
    let matter = match question.kind {
        QuestionKind::Transfer => {
            format!("{source} wants to send its pendrive ({used_mib} of {size_mib} MiB used) to {target}.")
        }
        QuestionKind::WaitForReceiver => format!(
            "{target} still holds an earlier pendrive. Shall the one of {source} ({used_mib} of {size_mib} MiB used) wait for it?"
        ),
    };
    format!(
        "question {}: {matter}\n  Asked by: {}. Asked {} ago. No answer within {} s means no.\n",
        question.id.0,
        question.rule.as_str(),
        age(u64::from(question.age_ms)),
        question.expires_ms.div_ceil(1000)
    )
}

pub(crate) fn question_json(question: &Question) -> Value {
    let kind = match question.kind {
        QuestionKind::Transfer => "transfer",
        QuestionKind::WaitForReceiver => "wait",
    };
    json!({
        "id": question.id.0,
        "kind": kind,
        "source": question.source.as_str(),
        "target": recipient(&question.target),
        "size_mib": question.size_mib,
        "used_mib": question.used_mib,
        "rule": question.rule.as_str(),
        "age_ms": question.age_ms,
        "expires_ms": question.expires_ms,
    })
}

/// A VM's name, or what a policy calls a new DisposableVM.
fn recipient(recipient: &Recipient) -> String {
    match recipient {
        Recipient::Vm(name) => name.to_string(),
        Recipient::NewDisposable => "@dispvm".to_owned(),
    }
}

/// A time in its largest whole unit.
pub(crate) fn age(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (ms, text) in [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
            (u64::MAX, "213503982334 days"),
        ] {
            assert_eq!(age(ms), text);
        }
    }
}
