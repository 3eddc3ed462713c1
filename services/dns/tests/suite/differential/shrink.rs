//! From a zone and a question that are answered as nobody else does, to the smallest ones that still are.

use anyhow::Result;

use super::{
    Round, apex,
    reply::Verdict,
    world::{Asked, World},
};

/// How often something smaller is looked for: each time, many at once are served.
const ROUNDS_MAX: usize = 60;

/// Tells of the smallest ones.
pub(super) fn smallest(world: World, asked: Asked) -> Result<String> {
    let mut smallest = (world, asked);
    let mut how = String::new();
    for _ in 0..ROUNDS_MAX {
        let candidates = smaller(&smallest);
        let worlds: Vec<World> = candidates.iter().map(|(world, _)| world.clone()).collect();
        let mut round = Round::serve(&worlds)?;
        let mut found = None;
        for (number, (world, asked)) in candidates.iter().enumerate() {
            if let Verdict::Alone(difference) = round.judge(number, world, asked)? {
                found = Some((world.clone(), asked.clone()));
                how = difference;
                break;
            }
        }
        match found {
            Some(found) => smallest = found,
            None => break,
        }
    }
    let (world, asked) = smallest;
    Ok(format!("{}{}\n{how}", world.zone_file(&apex(0)), asked.dig(&apex(0))))
}

/// What is smaller by one step, the smallest first: without a part of the records, or with a simpler question.
fn smaller((world, asked): &(World, Asked)) -> Vec<(World, Asked)> {
    let mut candidates = Vec::new();
    let count = world.lines.len();
    let mut part = count.div_ceil(2);
    while part > 0 {
        for begin in (0..count).step_by(part) {
            let mut lines = world.lines.clone();
            lines.drain(begin..count.min(begin + part));
            candidates.push((World::of(lines), asked.clone()));
        }
        part /= 2;
    }
    let simpler = [
        Asked { edns: None, ..asked.clone() },
        Asked { edns: asked.edns.map(|(payload, _)| (payload, false)), ..asked.clone() },
        Asked {
            capitals: false,
            below: asked.below.iter().map(|label| label.to_ascii_lowercase()).collect(),
            ..asked.clone()
        },
        Asked { below: asked.below.iter().skip(1).cloned().collect(), ..asked.clone() },
        Asked { qtype: 1, ..asked.clone() },
    ];
    candidates
        .extend(simpler.into_iter().filter(|simpler| simpler != asked).map(|asked| (world.clone(), asked)));
    candidates
}
