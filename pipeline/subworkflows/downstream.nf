include { EMBED } from '../modules/embed'
include { PROBE } from '../modules/probe'

// Embeddings from every encoder, then one probing job a task and scope, each over all folds.
workflow DOWNSTREAM {
    take:
    settings       // map: checked parameters
    ch_code        // val: map of stage to code hash
    ch_cohorts     // path(cohorts)
    ch_splits      // path(splits)
    ch_jobs        // meta: id, task, scope, label_column
    ch_checkpoints // [ meta, path(checkpoint) ]

    main:
    EMBED(ch_checkpoints, ch_cohorts, settings.pooling, ch_code.map { code -> code.embed })
    embeddings = EMBED.out.embeddings.toSortedList { a, b -> a.name <=> b.name } // [ path(h5ad), … ]

    PROBE(ch_jobs, ch_cohorts, ch_splits, embeddings, settings.seed, ch_code.map { code -> code.probe })

    predictions = PROBE.out.predictions

    emit:
    embeddings  // [ path(h5ad), … ]
    predictions // [ meta, path(predictions) ]
}
