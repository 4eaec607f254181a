include { ATTRIBUTE   } from '../modules/attribute'
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
    ch_jobs        // meta: id, task, scope, label_column, n_samples
    ch_tokens      // [ meta, path(tokens) ]
    ch_checkpoints // [ meta, path(checkpoint) ]

    main:
    def seed = settings.subMap(['seed'])
    ch_all_jobs = ch_jobs.toSortedList { a, b -> a.id <=> b.id }
    ch_groups = ch_all_jobs.flatMap { jobs -> JobGroups.of(jobs, settings.samples_per_task) } // [ meta, … ]
    BASELINES(
        ch_groups.filter { _jobs -> settings.baselines != 'none' },
        ch_cohorts,
        ch_splits,
        settings.subMap(['seed', 'baselines', 'modalities']),
        ch_code.map { code -> code.probe }
    )

    EMBED(ch_checkpoints, ch_cohorts, settings.pooling, ch_code.map { code -> code.embed })
    // A job a model, task and scope, with that model's encoders of all splits.
    ch_probed = EMBED.out.embeddings
        .map { meta, embeddings -> [meta.model, embeddings] }
        .groupTuple()
        .map { model, files -> [model, files.toSorted { a, b -> a.name <=> b.name }] }
    PROBE(
        ch_groups.map { jobs -> [jobs] }.combine(ch_probed).map { jobs, model, files ->
            [jobs.collect { job -> job + [id: ModelChoice.id(model, job.id), model: model] }, files]
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
    // Only jobs of one variant share a task: another variant asked for later leaves the groups as they are.
    ch_finetune = ch_all_jobs
        .flatMap { jobs ->
            variants.collectMany { variant ->
                def chosen = jobs.findAll { job -> variant.task in [null, job.task] }
                JobGroups.of(chosen, settings.finetune_samples_per_task).collect { group -> [group, variant] }
            }
        }
        .combine(ch_encoders)
        .map { jobs, variant, model, checkpoints, tokens ->
            def named = jobs.collect { job ->
                def id = ModelChoice.id(model, "${job.id}.${variant.adapter}.${variant.start}")
                job + variant.subMap(['adapter', 'start']) + [id: id.toString(), model: model]
            }
            [named, checkpoints, tokens]
        }
    FINETUNE(
        ch_finetune,
        ch_cohorts,
        ch_splits,
        settings.task_config ? file(settings.task_config) : [],
        settings.subMap(['task_preset', 'seed']),
        ch_code.map { code -> code.finetune }
    )

    // Of several scopes the widest: what tells all classes apart, and the risk over all cohorts.
    def asked = settings.attribute ? settings.attribute.tokenize(',') : []
    ATTRIBUTE(
        FINETUNE.out.finetuned
            .flatMap { jobs, folders -> JobGroups.withFolders(jobs, folders) }
            .filter { meta, _folder -> meta.task in asked && meta.scope == 'pan' && meta.start == 'pretrained' && meta.model == 'bulkrnabert' },
        ch_cohorts,
        settings.gmt ? file(settings.gmt) : [],
        settings.subMap(['attribute_samples', 'seed']),
        ch_code.map { code -> code.attribute }
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
    predictions = BASELINES.out.predictions.mix(PROBE.out.predictions, FINETUNE.out.finetuned).flatMap { _jobs, folders -> folders }
    findings = CROSS_MODAL.out.restored.mix(GEXBERT.out.findings, ATTRIBUTE.out.numbers)

    emit:
    embeddings  // [ path(h5ad), … ]
    predictions // path(folder with predictions.parquet)
    findings    // path(json), beside predictions, for the report
}
