include { SYNTH      } from '../modules/synth'
include { DOCTOR     } from '../modules/doctor'
include { DOWNLOAD   } from '../modules/download'
include { PREPROCESS } from '../modules/preprocess'
include { SPLIT      } from '../modules/split'
include { UPDATE     } from '../modules/update'

// From portals and own files to one table a cohort, and the splits that every later number rests on.
workflow PREPARE {
    take:
    settings // map: checked parameters
    ch_code  // val: map of stage to code hash

    main:
    def downloads = DownloadPlan.of(settings)

    if (settings.gdc_api == 'embedded') {
        SYNTH(settings.subMap(['study_patients', 'study_genes', 'study_probes', 'seed']), ch_code.map { code -> code.synth })
        ch_study = SYNTH.out.study
    }
    else {
        ch_study = channel.value([])
    }
    def has_methylation = settings.modalities.contains('methylation')
    if (settings.gdc_api == 'embedded' && has_methylation && !settings.probe_annotation) {
        ch_probes = SYNTH.out.probes
    }
    else {
        ch_probes = channel.value(settings.probe_annotation ? file(settings.probe_annotation) : [])
    }

    // A retraining that finds nothing new ends here: without a release nothing is fetched, and nothing follows.
    ch_changes = channel.value([])
    ch_release = channel.value('')
    if (settings.mode == 'retrain') {
        UPDATE(
            files("${settings.champion}/download/*.{plan,cases}.json"),
            ch_study,
            settings.subMap(['gdc_api', 'projects', 'modalities']),
            ch_code.map { code -> code.update }
        )
        ch_changes = UPDATE.out.changes
        ch_release = ch_changes
            .map { folder -> folder.resolve('changes.json').text }
            .filter { text -> new groovy.json.JsonSlurper().parseText(text).n_changes > 0 }
            .map { text -> text.md5() }
    }

    def store = settings.raw_store ? file(settings.raw_store).toAbsolutePath() : null
    if (store && nextflow.Global.config.process?.executor in ['awsbatch', 'google-batch']) {
        exit(2, "--raw_store ${settings.raw_store}: the machines of a cloud share no folder; leave it out, downloads are in the work folder then")
    }
    store?.mkdirs()
    // One task a project and modality: the portal is asked politely, and what fails is fetched again alone.
    DOWNLOAD(
        channel.fromList(downloads.collect { task -> task.subMap(['id', 'source', 'flags']) }),
        ch_study,
        downloads.collectMany { task -> task.files }.unique().collect { path -> file(path, checkIfExists: true) },
        settings.token_file ? file(settings.token_file) : [],
        store ? store.toString() : '',
        ch_release,
        ch_code.map { code -> code.download }
    )
    ch_raw = DOWNLOAD.out.raw
        .toSortedList { a, b -> a.name <=> b.name } // [ path(raw), … ]
        .filter { folders -> folders || settings.mode != 'retrain' }

    def sheet = settings.input ? file(settings.input, checkIfExists: true) : []
    def sheet_files = settings.input ? SheetFiles.of(sheet).collect { path -> file(path) } : []
    def tables = ['vocabulary', 'gene_lengths', 'annotation', 'cdr', 'published_splits']
        .collectEntries { name -> [name, settings[name] ? file(settings[name]) : []] }
    diagnosis = channel.value([])
    if (settings.input && settings.doctor) {
        DOCTOR(
            sheet,
            sheet_files,
            tables.vocabulary,
            tables.annotation,
            tables.gene_lengths,
            ch_code.map { code -> code.doctor }
        )
        diagnosis = DOCTOR.out.diagnosis
    }
    PREPROCESS(
        ch_raw,
        sheet,
        sheet_files,
        tables.vocabulary,
        tables.gene_lengths,
        tables.annotation,
        ch_probes,
        tables.cdr,
        settings.subMap(['endpoint', 'cohort_column', 'sample_types', 'merge', 'zero_time']),
        ch_code.map { code -> code.preprocess }
    )

    SPLIT(
        PREPROCESS.out.cohorts,
        tables.published_splits,
        settings.subMap(
            ['folds', 'repeats', 'seed', 'protocol', 'label_column', 'min_events', 'leave_out', 'published_form']
        ) + [modality: ModelChoice.split_modality(settings)],
        ch_code.map { code -> code.split }
    )
    changes = ch_changes
    cohorts = PREPROCESS.out.cohorts
    splits = SPLIT.out.splits
    jobs = SPLIT.out.jobs
        .splitCsv(header: true, sep: '\t')
        .map { row ->
            row.subMap(['task', 'scope', 'label_column']) + [id: "${row.task}.${row.scope}".toString(), n_samples: row.n_samples as int]
        }
    encoders = SPLIT.out.encoders
        .splitCsv(header: true, sep: '\t')
        .map { row -> row.split_id }
        .combine(channel.fromList(ModelChoice.names(settings)))
        .map { split_id, model -> [id: ModelChoice.id(model, split_id), model: model, split_id: split_id] }

    emit:
    cohorts  // path(cohorts)
    diagnosis // path(doctor.json), or nothing
    changes  // path(changes) of a retraining, or nothing
    splits   // path(splits)
    jobs     // meta: id, task, scope, label_column, n_samples
    encoders // meta: id, model, split_id (outer split that an encoder is pretrained for)
}
