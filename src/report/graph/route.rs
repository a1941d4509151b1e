//! Which track every wire has in the gap between two columns.

#![forbid(unsafe_code)]

/// Vertical distance between two wires that share a track.
const CLEARANCE: i32 = 9;
/// Rounds of exchanging neighbouring tracks.
const ROUNDS: usize = 24;

/// The wires of one net in one gap: the heights at which they come from the left and from the right.
#[derive(Clone, Debug, Default)]
pub(super) struct Joint {
    pub left: Vec<i32>,
    pub right: Vec<i32>,
}

impl Joint {
    /// The stretch of track that connects them.
    pub(super) fn span(&self) -> (i32, i32) {
        let all = || self.left.iter().chain(&self.right).copied();
        (all().min().unwrap_or(0), all().max().unwrap_or(0))
    }
}

/// The track of each joint, counted from the left, and how many there are. Joints on one track do not touch.
pub(super) fn tracks(joints: &[Joint]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..joints.len()).collect();
    order.sort_by_key(|joint| joints[*joint].span());
    let mut tracks: Vec<Vec<usize>> = Vec::new();
    for joint in order {
        let (top, _) = joints[joint].span();
        let free =
            |track: &Vec<usize>| track.last().is_none_or(|last| joints[*last].span().1 + CLEARANCE <= top);
        match tracks.iter_mut().find(|track| free(track)) {
            Some(track) => track.push(joint),
            None => tracks.push(vec![joint]),
        }
    }
    for _ in 0..ROUNDS {
        let mut any = false;
        for at in 1..tracks.len() {
            let (one, other) = (&tracks[at - 1], &tracks[at]);
            if crossings(joints, other, one) < crossings(joints, one, other) {
                tracks.swap(at - 1, at);
                any = true;
            }
        }
        if !any {
            break;
        }
    }
    let mut track_of = vec![0; joints.len()];
    for (track, members) in tracks.iter().enumerate() {
        for member in members {
            track_of[*member] = track;
        }
    }
    (track_of, tracks.len())
}

/// How often wires of two tracks cross, with `left` to the left of `right`: those that go to the left from the right track
/// meet the left one, and the other way round.
fn crossings(joints: &[Joint], left: &[usize], right: &[usize]) -> usize {
    let hits = |heights: &[i32], track: &[usize]| {
        let inside = |height: i32| {
            let between = |joint: &&usize| {
                let (top, bottom) = joints[**joint].span();
                top < height && height < bottom
            };
            track.iter().filter(between).count()
        };
        heights.iter().map(|height| inside(*height)).sum::<usize>()
    };
    let from_right: usize = right.iter().map(|joint| hits(&joints[*joint].left, left)).sum();
    let from_left: usize = left.iter().map(|joint| hits(&joints[*joint].right, right)).sum();
    from_right + from_left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_gets_a_track_of_its_own() {
        let joint = |left: i32, right: i32| Joint { left: vec![left], right: vec![right] };
        let joints = [joint(0, 50), joint(60, 100), joint(40, 70)];
        let (track_of, count) = tracks(&joints);
        assert_eq!(count, 2);
        assert_eq!(track_of[0], track_of[1]);
        assert_ne!(track_of[0], track_of[2]);
    }

    #[test]
    fn tracks_are_ordered_so_that_wires_do_not_cross() {
        // Both lead downwards, the upper one must turn last.
        let joints = [Joint { left: vec![0], right: vec![100] }, Joint { left: vec![14], right: vec![114] }];
        let (track_of, _) = tracks(&joints);
        assert!(track_of[0] > track_of[1], "{track_of:?}");
    }
}
