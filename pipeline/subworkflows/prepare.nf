include { SYNTH      } from '../modules/synth'
include { DOWNLOAD   } from '../modules/download'
include { PREPROCESS } from '../modules/preprocess'
include { SPLIT      } from '../modules/split'

// From portals and own files to one table a cohort, and the splits that every later number rests on.
workflow PREPARE {
    take:
    settings // map: checked parameters
    ch_code  // val: map of stage to code hash

    main:
    def is_embedded = settings.gdc_api == 'embedded'
    def projects = settings.projects ? settings.projects.tokenize(',').unique().sort() : []

    if (is_embedded) {
        SYNTH(settings.subMap(['study_patients', 'study_genes', 'seed']), ch_code.map { code -> code.synth })
        ch_study = SYNTH.out.study
    }
    else {
        ch_study = channel.value([])
    }

    // One task a project: the portal is asked politely, and a project that fails is fetched again alone.
    DOWNLOAD(
        channel.fromList(projects),
        ch_study,
        settings.subMap(['gdc_api', 'sample_types']),
        ch_code.map { code -> code.download }
    )
    ch_raw = DOWNLOAD.out.raw.toSortedList { a, b -> a.name <=> b.name } // [ path(raw), … ]

    def sheet = settings.input ? file(settings.input, checkIfExists: true) : []
    PREPROCESS(
        ch_raw,
        sheet,
        settings.input ? SheetFiles.of(sheet).collect { path -> file(path) } : [],
        settings.vocabulary ? file(settings.vocabulary) : [],
        settings.gene_lengths ? file(settings.gene_lengths) : [],
        settings.subMap(['endpoint', 'cohort_column', 'sample_types']),
        ch_code.map { code -> code.preprocess }
    )

    SPLIT(
        PREPROCESS.out.cohorts,
        settings.subMap(['folds', 'repeats', 'seed', 'protocol', 'label_column', 'min_events']),
        ch_code.map { code -> code.split }
    )
    cohorts = PREPROCESS.out.cohorts
    splits = SPLIT.out.splits
    jobs = SPLIT.out.jobs
        .splitCsv(header: true, sep: '\t')
        .map { row -> [id: "${row.task}.${row.scope}", task: row.task, scope: row.scope, label_column: row.label_column] }
    encoders = SPLIT.out.encoders
        .splitCsv(header: true, sep: '\t')
        .map { row -> [id: row.split_id] }

    emit:
    cohorts  // path(cohorts)
    splits   // path(splits)
    jobs     // meta: id, task, scope, label_column
    encoders // meta: id (outer split that an encoder is pretrained for)
}
