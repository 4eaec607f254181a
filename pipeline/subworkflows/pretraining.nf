include { TOKENIZE } from '../modules/tokenize'
include { PRETRAIN } from '../modules/pretrain'

// One tokenizer and one encoder for each outer split; neither sees the patients that the split holds out.
workflow PRETRAINING {
    take:
    settings    // map: checked parameters
    ch_code     // val: map of stage to code hash
    ch_cohorts  // path(cohorts)
    ch_splits   // path(splits)
    ch_encoders // meta: id

    main:
    def states = settings.checkpoint_dir ? file(settings.checkpoint_dir).toAbsolutePath().toString() : null
    TOKENIZE(
        ch_encoders,
        ch_cohorts,
        ch_splits,
        settings.subMap(['max_genes', 'missing_genes']),
        ch_code.map { code -> code.tokenize }
    )
    PRETRAIN(
        TOKENIZE.out.tokens,
        settings.model_config ? file(settings.model_config) : [],
        settings.train_config ? file(settings.train_config) : [],
        settings.subMap(['preset', 'engine', 'zero_stage', 'processes', 'steps', 'seed']) + [checkpoint_dir: states],
        ch_code.map { code -> code.pretrain }
    )

    checkpoints = PRETRAIN.out.checkpoint
    tokens = TOKENIZE.out.tokens

    emit:
    checkpoints // [ meta, path(checkpoint) ]
    tokens      // [ meta, path(tokens) ]
}
