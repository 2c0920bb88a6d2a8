//! The manifests of this project.

use std::path::Path;

use super::*;

#[test]
fn every_sample_of_the_shipped_folder_gives_its_job() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let set = load(&dir).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!((set.sources.len(), set.triggers.len(), set.config_maps.len()), (7, 7, 7));
    assert_eq!(set.samples.len(), 7);
    for sample in &set.samples {
        let event = IncomingEvent::parse(&sample.subject, &[], &sample.payload).unwrap();
        let mut plans = plan_all(&set, &event);
        assert_eq!(plans.len(), 1, "{}", sample.subject);
        let jobs = jobs(plans.remove(0));
        assert_eq!(jobs.len(), 1);
        insta::assert_json_snapshot!(format!("shipped_{}", sample.subject), jobs[0].manifest);
    }
}
