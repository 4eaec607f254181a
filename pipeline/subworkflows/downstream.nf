include { BASELINES   } from '../modules/baselines'
include { CROSS_MODAL } from '../modules/cross_modal'
include { EMBED       } from '../modules/embed'
include { FINETUNE    } from '../modules/finetune'
include { PROBE       } from '../modules/probe'
include { GEXBERT     } from './gexbert'

// Baselines of every job; embeddings from every encoder, probed and fine-tuned a model, a task and a scope.
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
    def seed = settings.subMap(['seed'])
    BASELINES(
        ch_jobs.filter { _meta -> settings.baselines != 'none' },
        ch_cohorts,
        ch_splits,
        settings.subMap(['seed', 'baselines', 'modalities']),
        ch_code.map { code -> code.probe }
    )

    EMBED(ch_checkpoints, ch_cohorts, settings.pooling, ch_code.map { code -> code.embed })
    // One job a model, task and scope, with that model's encoders of all splits.
    ch_probed = EMBED.out.embeddings
        .map { meta, embeddings -> [meta.model, embeddings] }
        .groupTuple()
        .map { model, files -> [model, files.toSorted { a, b -> a.name <=> b.name }] }
    PROBE(
        ch_jobs.combine(ch_probed).map { meta, model, files ->
            [meta + [id: ModelChoice.id(model, meta.id), model: model], files]
        },
        ch_cohorts,
        ch_splits,
        seed,
        ch_code.map { code -> code.probe }
    )

    def wanted = settings.finetune ? settings.finetune.tokenize(',').unique() : []
    def starts = settings.finetune_starts.tokenize(',').unique()
    // ADAPTER for every task, or TASK:ADAPTER for one
    def variants = wanted.collectMany { name ->
        def parts = name.tokenize(':')
        starts.collect { start -> [task: parts.size() > 1 ? parts[0] : null, adapter: parts[-1], start: start] }
    }
    ch_encoders = ch_checkpoints
        .join(ch_tokens)
        .map { meta, checkpoint, tokens -> [meta.model, [meta.id, checkpoint, tokens]] }
        .groupTuple()
        .map { model, items ->
            def sorted = items.toSorted { a, b -> a[0] <=> b[0] }
            [model, sorted.collect { item -> item[1] }, sorted.collect { item -> item[2] }]
        }
    ch_finetune = ch_jobs
        .filter { _meta -> variants as boolean }
        .combine(channel.fromList(variants ?: [[:]]))
        .filter { meta, variant -> variant.task in [null, meta.task] }
        .combine(ch_encoders)
        .map { meta, variant, model, checkpoints, tokens ->
            def id = ModelChoice.id(model, "${meta.id}.${variant.adapter}.${variant.start}")
            [meta + variant.subMap(['adapter', 'start']) + [id: id.toString(), model: model], checkpoints, tokens]
        }
    FINETUNE(
        ch_finetune,
        ch_cohorts,
        ch_splits,
        settings.task_config ? file(settings.task_config) : [],
        settings.subMap(['task_preset', 'seed']),
        ch_code.map { code -> code.finetune }
    )

    // An encoder of all samples holds out nobody to judge it by.
    CROSS_MODAL(
        ch_checkpoints
            .join(ch_tokens)
            .filter { meta, _checkpoint, _tokens -> meta.model == 'mojo' && meta.split_id != 'all' },
        ch_code.map { code -> code['cross-modal'] }
    )

    GEXBERT(
        settings,
        ch_code,
        ch_cohorts,
        ch_splits,
        ch_jobs,
        ch_checkpoints.join(ch_tokens).filter { meta, _checkpoint, _tokens -> meta.model == 'gexbert' }
    )

    embeddings = EMBED.out.embeddings.map { _meta, file -> file }.toSortedList { a, b -> a.name <=> b.name }
    predictions = BASELINES.out.predictions.mix(PROBE.out.predictions, FINETUNE.out.finetuned)
    findings = CROSS_MODAL.out.restored.mix(GEXBERT.out.findings)

    emit:
    embeddings  // [ path(h5ad), … ]
    predictions // [ meta, path(folder with predictions.parquet) ]
    findings    // path(json), beside predictions, for the report
}
