include { TOKENIZE } from '../modules/tokenize'
include { PRETRAIN } from '../modules/pretrain'

// One tokenizer and one encoder for each model and outer split; neither sees the patients that the split holds out.
workflow PRETRAINING {
    take:
    settings    // map: checked parameters
    ch_code     // val: map of stage to code hash
    ch_cohorts  // path(cohorts)
    ch_splits   // path(splits)
    ch_encoders // meta: id, model, split_id

    main:
    if (settings.nodes > 1 && (nextflow.Global.config.process?.executor != 'slurm' || workflow.containerEngine)) {
        exit(2, "--nodes ${settings.nodes}: training over several nodes needs -profile slurm and no container profile; leave --nodes out, or use more --processes on one node")
    }
    // On an object store there is no folder that outlives an attempt, unless --checkpoint_dir names a mounted one.
    def has_folder = settings.checkpoint_dir || workflow.workDir.toUri().scheme == 'file'
    def states = has_folder ? file(settings.checkpoint_dir ?: "${workflow.workDir}/states").toAbsolutePath() : null
    states?.mkdirs()
    def choices = settings.subMap(['preset', 'engine', 'zero_stage', 'processes', 'nodes', 'steps', 'seed', 'new_share'])
    def own_files = [settings.model_config, settings.train_config].findAll().collect { name -> file(name).text }
    TOKENIZE(
        ch_encoders.map { meta -> [meta, Champion.encoder(settings, meta.id)] },
        ch_cohorts,
        ch_splits,
        settings.subMap(['max_genes', 'missing_genes', 'genes']),
        ch_code.map { code -> code.tokenize }
    )
    // Without a name of the user's, a state is found again by what decides its result.
    ch_work = TOKENIZE.out.tokens.combine(ch_code).map { meta, tokens, code ->
        def champion = Champion.encoder(settings, meta.id)
        def key = "${tokens} ${choices} ${own_files} ${champion} ${code.pretrain}".toString().md5().take(16)
        [meta, tokens, has_folder ? (settings.checkpoint_dir ? states : states.resolve(key)).resolve(meta.id).toString() : null, champion]
    }
    PRETRAIN(
        ch_work,
        settings.model_config ? file(settings.model_config) : [],
        settings.train_config ? file(settings.train_config) : [],
        choices,
        ch_code.map { code -> code.pretrain }
    )

    checkpoints = PRETRAIN.out.checkpoint
    tokens = TOKENIZE.out.tokens

    emit:
    checkpoints // [ meta, path(checkpoint) ]
    tokens      // [ meta, path(tokens) ]
}
