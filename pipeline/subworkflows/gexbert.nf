include { ANCHORS    } from '../modules/anchors'
include { BIOMARKERS } from '../modules/biomarkers'
include { IMPUTATION } from '../modules/imputation'
include { PANELS     } from '../modules/panels'

// What GexBERT is for: classes from few genes, restored values, survival from them, and the genes that it looks at.
workflow GEXBERT {
    take:
    settings    // map: checked parameters
    ch_code     // val: map of stage to code hash
    ch_cohorts  // path(cohorts)
    ch_splits   // path(splits)
    ch_jobs     // meta: id, task, scope, label_column, n_samples
    ch_encoders // [ meta, path(checkpoint), path(tokens) ] of GexBERT

    main:
    ch_all = ch_encoders
        .toSortedList { a, b -> a[0].id <=> b[0].id }
        .filter { items -> items as boolean }
        .map { items -> [items.collect { item -> item[1] }, items.collect { item -> item[2] }] }
    def panels = settings.panel_choosers.tokenize(',').unique().collectMany { chooser ->
        def sizes = settings.panel_sizes ? settings.panel_sizes.toString().tokenize(',').unique() : [null]
        sizes.collect { size -> [id: [chooser, size].findAll().join('.'), chooser: chooser, size: size] }
    }
    PANELS(
        channel.fromList(panels).combine(ch_all.map { checkpoints, tokens -> [[checkpoints, tokens]] })
            .map { meta, folders -> [meta, folders[0], folders[1]] },
        ch_cohorts,
        ch_splits,
        settings.panel_genes ? file(settings.panel_genes) : [],
        settings.subMap(['label_column', 'baselines', 'bootstrap', 'seed']),
        ch_code.map { code -> code.panels }
    )

    // Restored values are judged on the first split's held-out samples; each pattern of missing values is a task.
    def rates = settings.missing_rates.toString().tokenize(',').unique().collect { percent -> (percent as int) / 100 }
    IMPUTATION(
        ch_encoders
            .filter { meta, _checkpoint, _tokens -> meta.split_id == 'r0f0' }
            .combine(channel.of('at_random', 'whole_genes', 'low_expression'))
            .map { meta, checkpoint, tokens, pattern -> [meta + [pattern: pattern, rates: rates], checkpoint, tokens] },
        settings.subMap(['bootstrap', 'seed']),
        ch_code.map { code -> code['impute-benchmark'] }
    )

    ANCHORS(
        ch_jobs
            .filter { meta -> meta.task == 'survival' }
            .toSortedList { a, b -> a.id <=> b.id }
            .flatMap { jobs -> JobGroups.of(jobs, settings.samples_per_task) },
        ch_all,
        ch_cohorts,
        ch_splits,
        settings.subMap(['anchor_panel', 'anchors', 'bootstrap', 'seed']),
        ch_code.map { code -> code.anchors }
    )
    BIOMARKERS(
        ch_all,
        ch_cohorts,
        settings.gmt ? file(settings.gmt) : [],
        settings.subMap(['label_column', 'seed']),
        ch_code.map { code -> code.biomarkers }
    )

    findings = PANELS.out.numbers.mix(IMPUTATION.out.numbers, ANCHORS.out.numbers.flatten(), BIOMARKERS.out.numbers)

    emit:
    findings // path(json), for the report
}
