include { EVALUATE } from '../modules/evaluate'
include { REPORT   } from '../modules/report'
include { TRACK    } from '../modules/track'

// Predictions to numbers, numbers to the page, everything into MLflow.
workflow SUMMARISE {
    take:
    settings       // map: checked parameters, version, revision
    ch_code        // val: map of stage to code hash
    ch_cohorts     // path(cohorts)
    ch_diagnosis   // path(doctor.json), or nothing
    ch_splits      // path(splits)
    ch_checkpoints // [ meta, path(checkpoint) ]
    ch_embeddings  // [ path(h5ad), … ]
    ch_predictions // path(predictions)
    ch_findings    // path(json), what is not made of predictions

    main:
    ch_encoder_folders = ch_checkpoints.map { _meta, checkpoint -> checkpoint }.toSortedList { a, b -> a.name <=> b.name }
    ch_prediction_folders = ch_predictions.toSortedList { a, b -> a.name <=> b.name }

    EVALUATE(
        ch_prediction_folders,
        ch_splits,
        ch_cohorts,
        ch_embeddings,
        ch_encoder_folders,
        settings.subMap(['protocol', 'seed', 'bootstrap']),
        ch_code.map { code -> code.evaluate }
    )

    // Only what does not change from one launch to the next, so that an unchanged -resume finds all of it cached.
    def shown = settings.findAll { name, value -> value != null && !(name in ['help', 'mlflow_uri', 'publish_dir_mode']) }
    def run_json = groovy.json.JsonOutput.toJson([
        pipeline_version: settings.version,
        revision: settings.revision,
        params: shown.findAll { name, _value -> !(name in ['version', 'revision']) }.sort()
    ])
    REPORT(
        EVALUATE.out.numbers,
        ch_cohorts,
        ch_diagnosis,
        ch_findings.toSortedList { a, b -> a.name <=> b.name },
        ch_encoder_folders,
        run_json,
        ch_code.map { code -> code.report }
    )
    TRACK(
        EVALUATE.out.numbers,
        ch_encoder_folders,
        run_json,
        settings.mlflow_uri ?: '',
        ch_code.map { code -> code.track }
    )
}
