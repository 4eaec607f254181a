include { EMBED    } from '../modules/embed'
include { FINETUNE } from '../modules/finetune'
include { PROBE    } from '../modules/probe'

// Embeddings from every encoder, one probing job a task and scope, and fine-tuning of the same jobs where it is asked for.
workflow DOWNSTREAM {
    take:
    settings       // map: checked parameters
    ch_code        // val: map of stage to code hash
    ch_cohorts     // path(cohorts)
    ch_splits      // path(splits)
    ch_jobs        // meta: id, task, scope, label_column
    ch_tokens      // [ meta, path(tokens) ]
    ch_checkpoints // [ meta, path(checkpoint) ]

    main:
    EMBED(ch_checkpoints, ch_cohorts, settings.pooling, ch_code.map { code -> code.embed })
    embeddings = EMBED.out.embeddings.toSortedList { a, b -> a.name <=> b.name } // [ path(h5ad), … ]

    PROBE(
        ch_jobs,
        ch_cohorts,
        ch_splits,
        embeddings,
        settings.subMap(['seed', 'baselines']),
        ch_code.map { code -> code.probe }
    )

    def wanted = settings.finetune ? settings.finetune.tokenize(',').unique() : []
    def starts = settings.finetune_starts.tokenize(',').unique()
    def variants = wanted.collectMany { adapter -> starts.collect { start -> [adapter: adapter, start: start] } }
    ch_finetune = ch_jobs
        .filter { _meta -> variants as boolean }
        .combine(channel.fromList(variants ?: [[:]]))
        .map { meta, variant -> meta + variant + [id: "${meta.id}.${variant.adapter}.${variant.start}".toString()] }
    FINETUNE(
        ch_finetune,
        ch_cohorts,
        ch_splits,
        ch_checkpoints.map { _meta, checkpoint -> checkpoint }.toSortedList { a, b -> a.name <=> b.name },
        ch_tokens.toSortedList { a, b -> a[0].id <=> b[0].id }.map { items -> items.collect { _meta, tokens -> tokens } },
        settings.task_config ? file(settings.task_config) : [],
        settings.subMap(['task_preset', 'seed']),
        ch_code.map { code -> code.finetune }
    )

    predictions = PROBE.out.predictions.mix(FINETUNE.out.finetuned)

    emit:
    embeddings  // [ path(h5ad), … ]
    predictions // [ meta, path(folder with predictions.parquet) ]
}
