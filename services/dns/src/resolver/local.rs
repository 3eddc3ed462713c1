//! Records of a policy's own, and zones that it has for itself. Pure.
//!
//! ```text
//!  name ─▶ it has records here? ─▶ those of the type; an alias: on with the name that it leads to
//!          │ no
//!          ▼
//!         it lies in a zone of the policy's own? ─▶ nothing of the type, if names with records lie below it; else NXDOMAIN
//!          │ no
//!          ▼
//!         nothing is said: an alias has led outside, or the name is nobody's here
//! ```
//!
//! Invariant: aliases end, which is checked when they are read. Limits: [`RECORDS_MAX`], [`ZONES_MAX`], [`ALIASES_MAX`].

use std::collections::{HashMap, HashSet};

use proxima_model::{RecordData, RecordType};
use proxima_resolver::{Aliases, Decided, LocalRecord, Name};

use super::policies::TTL;
use crate::{rrset::encode, wire::rtype};

/// Records of a policy.
const RECORDS_MAX: usize = 10_000;
/// Zones of a policy's own: each is looked at for each question.
const ZONES_MAX: usize = 64;
/// Aliases of a policy's own behind each other.
const ALIASES_MAX: usize = 8;

/// What a policy has of its own.
#[derive(Debug, Default)]
pub(crate) struct Local {
    records: HashMap<Name, Vec<LocalRecord>>,
    /// Zones in which there is nothing but these records.
    zones: Vec<Name>,
    /// Names that there are in them: those of records, and all above.
    names: HashSet<Name>,
}

/// What is known here of a name.
pub(crate) enum Own {
    /// Its answer.
    Decided(Decided),
    /// What it leads to is not known here: nothing, or aliases to there.
    Outside(Aliases),
}

impl Local {
    /// Reads records, such as `printer.office.example A 192.0.2.7`, and names of zones.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn parse(lines: &[String], zones: &[String]) -> Result<Self, String> {
        if lines.len() > RECORDS_MAX {
            return Err("more than 10000 records".to_owned());
        }
        if zones.len() > ZONES_MAX {
            return Err("more than 64 zones".to_owned());
        }
        let mut local = Self::default();
        for line in lines {
            let (owner, record) = record(line).map_err(|problem| format!("{line}: {problem}"))?;
            local.records.entry(owner).or_default().push(record);
        }
        for zone in zones {
            let zone: Name = zone.parse().map_err(|error| format!("{zone}: {error}"))?;
            if zone.wire().len() == 1 {
                return Err("the root is no zone of one's own".to_owned());
            }
            local.zones.push(zone);
        }
        local.names = local.existing();
        local.check_aliases()?;
        Ok(local)
    }

    /// Names in its zones that there are.
    fn existing(&self) -> HashSet<Name> {
        let mut names: HashSet<Name> = self.zones.iter().cloned().collect();
        for owner in self.records.keys() {
            let mut name = Some(owner.clone()).filter(|name| self.is_in_a_zone(name));
            while let Some(here) = name.filter(|name| self.is_in_a_zone(name)) {
                name = here.parent();
                names.insert(here);
            }
        }
        names
    }

    fn check_aliases(&self) -> Result<(), String> {
        for (owner, records) in &self.records {
            if records.len() > 1 && records.iter().any(|record| record.rtype == rtype::CNAME) {
                return Err(format!("{owner}: a CNAME record beside others"));
            }
            let (mut at, mut passed) = (owner.clone(), 0);
            while let Some(target) = self.target(&at) {
                passed += 1;
                if passed > ALIASES_MAX {
                    return Err(format!("{owner}: aliases lead round, or through more than {ALIASES_MAX}"));
                }
                at = target;
            }
        }
        Ok(())
    }

    /// Where a name's alias leads, if it is one.
    fn target(&self, name: &Name) -> Option<Name> {
        match &self.records.get(name)?[..] {
            [LocalRecord { rtype: rtype::CNAME, data, .. }] => Name::from_wire(data),
            _ => None,
        }
    }

    fn is_in_a_zone(&self, name: &Name) -> bool {
        self.zones.iter().any(|zone| name.is_within(zone))
    }

    /// What is known here of a name and a type.
    pub(crate) fn look(&self, name: &Name, asked: u16) -> Own {
        let mut aliases = Aliases { targets: Vec::new(), ttl: TTL };
        if self.records.is_empty() && self.zones.is_empty() {
            return Own::Outside(aliases);
        }
        loop {
            let at = aliases.targets.last().unwrap_or(name);
            let target = self.target(at).filter(|_| asked != rtype::CNAME);
            if let Some(target) = target.filter(|_| aliases.targets.len() < ALIASES_MAX) {
                aliases.targets.push(target);
                continue;
            }
            let decided = match self.records.get(at) {
                Some(records) => {
                    Decided::with(records.iter().filter(|record| record.rtype == asked).cloned().collect())
                }
                None if self.names.contains(at) => Decided::with(Vec::new()),
                None if self.is_in_a_zone(at) => Decided::nothing(),
                None => return Own::Outside(aliases),
            };
            return Own::Decided(decided.behind(aliases));
        }
    }
}

/// A record of a line: name, type, data.
fn record(line: &str) -> Result<(Name, LocalRecord), String> {
    let (owner, rest) = line.trim().split_once(char::is_whitespace).ok_or("give name, type and data")?;
    let (kind, content) =
        rest.trim_start().split_once(char::is_whitespace).ok_or("give name, type and data")?;
    let owner = owner.parse::<Name>().map_err(|error| error.to_string())?;
    let kind = RecordType::by_name(kind).map_err(|invalid| invalid.to_string())?;
    let data = RecordData::parse(kind, content.trim()).map_err(|invalid| invalid.to_string())?;
    let (rtype, data) = encode(&data);
    Ok((owner, LocalRecord { rtype, ttl: TTL, data: data.into() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str], zones: &[&str]) -> Result<Local, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Local::parse(&owned(lines), &owned(zones))
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn a(last: u8) -> LocalRecord {
        LocalRecord { rtype: rtype::A, ttl: TTL, data: [192, 0, 2, last].into() }
    }

    fn aliases(targets: &[&str]) -> Aliases {
        Aliases { targets: targets.iter().map(|target| name(target)).collect(), ttl: TTL }
    }

    #[test]
    fn aliases_are_followed_within_what_is_here_and_out_of_it() {
        let local = parse(
            &[
                "www.corp.example CNAME Web.corp.example",
                "web.corp.example CNAME web1.corp.example",
                "web1.corp.example A 192.0.2.7",
                "out.corp.example CNAME www.example.org",
                "gone.corp.example CNAME nobody.corp.example",
                "a.deep.corp.example A 192.0.2.8",
            ],
            &["corp.example"],
        )
        .unwrap();
        let look = |asked: &str, kind| local.look(&name(asked), kind);
        let decided = |asked: &str, kind| match look(asked, kind) {
            Own::Decided(decided) => decided,
            Own::Outside(aliases) => panic!("{asked} leads outside: {aliases:?}"),
        };
        let followed = aliases(&["web.corp.example", "web1.corp.example"]);
        assert_eq!(decided("www.corp.example", rtype::A), Decided::with(vec![a(7)]).behind(followed.clone()));
        assert_eq!(decided("www.corp.example", rtype::AAAA), Decided::with(vec![]).behind(followed));
        assert_eq!(decided("www.corp.example", rtype::CNAME).records.len(), 1);
        assert_eq!(
            decided("gone.corp.example", rtype::A),
            Decided::nothing().behind(aliases(&["nobody.corp.example"]))
        );
        // What lies above a name is there, and has nothing.
        let nothing_of_the_type = Decided::with(vec![]).behind(aliases(&[]));
        assert_eq!(decided("deep.corp.example", rtype::A), nothing_of_the_type);
        assert_eq!(decided("corp.example", rtype::A), nothing_of_the_type);
        assert_eq!(decided("x.corp.example", rtype::A), Decided::nothing().behind(aliases(&[])));
        for (asked, expected) in
            [("out.corp.example", aliases(&["www.example.org"])), ("example", aliases(&[]))]
        {
            assert!(matches!(look(asked, rtype::A), Own::Outside(found) if found == expected), "{asked}");
        }
    }

    #[test]
    fn without_a_zone_only_names_with_records_are_its_own() {
        let local = parse(&["printer.corp.example A 192.0.2.7"], &[]).unwrap();
        assert!(matches!(local.look(&name("printer.corp.example"), rtype::MX), Own::Decided(_)));
        assert!(matches!(local.look(&name("www.corp.example"), rtype::A), Own::Outside(_)));
    }

    #[test]
    fn what_leads_round_or_is_no_record_is_refused_with_the_line() {
        let chain: Vec<String> = (0..9).map(|n| format!("n{n}.example CNAME n{}.example", n + 1)).collect();
        let chain: Vec<&str> = chain.iter().map(String::as_str).collect();
        for (lines, zones, expected) in [
            (&["a.example CNAME b.example", "b.example CNAME a.example"][..], &[][..], "aliases lead round"),
            (&chain, &[], "more than 8"),
            (&["a.example CNAME b.example", "a.example A 192.0.2.1"], &[], "a CNAME record beside others"),
            (&["printer.example"], &[], "give name, type and data"),
            (&["printer.example A"], &[], "give name, type and data"),
            (&["a..b A 192.0.2.1"], &[], "not a domain name"),
            (&["a.example B x"], &[], "\"B\" is not a record type"),
            (&["a.example A x"], &[], "\"x\" is not A content"),
            (&[], &["."], "the root"),
            (&[], &["a..b"], "a..b: "),
        ] {
            let refused = parse(lines, zones).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        assert!(parse(&chain[1..], &[]).is_ok());
    }
}
