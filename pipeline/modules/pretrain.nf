process PRETRAIN {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'
    label 'process_restarts'

    input:
    tuple val(meta), path(tokens)
    path model_config
    path train_config
    val settings // map: preset, engine, zero_stage, processes, steps, seed, checkpoint_dir
    val _code    // hash of the code that this stage imports

    output:
    tuple val(meta), path("${meta.id}"), emit: checkpoint

    script:
    def model_flag = model_config ? "--model-config ${model_config}" : ''
    def train_flag = train_config ? "--train-config ${train_config}" : ''
    def steps_flag = settings.steps ? "--steps ${settings.steps}" : ''
    def state = settings.checkpoint_dir ? "${settings.checkpoint_dir}/${meta.id}" : 'state'
    // An attempt that ran out of time left its state behind; the next one goes on from there.
    def previous = task.previousTrace?.workdir
    def adopt = previous && !settings.checkpoint_dir ? "if [ -d '${previous}/state' ]; then cp -r '${previous}/state' state; fi" : ''
    """
    ${adopt}
    brb-pretrain --tokens ${tokens} --preset ${settings.preset} ${model_flag} ${train_flag} ${steps_flag} \\
        --engine ${settings.engine} --zero-stage ${settings.zero_stage} --processes ${settings.processes} \\
        --seed ${settings.seed} --threads ${task.cpus} --time-limit ${task.time.toSeconds()} \\
        --checkpoint-dir '${state}' --out ${meta.id}
    """

    stub:
    """
    mkdir ${meta.id}
    touch ${meta.id}/config.json ${meta.id}/model.safetensors ${meta.id}/tokenizer.json ${meta.id}/genes.txt
    touch ${meta.id}/provenance.json ${meta.id}/README.md ${meta.id}/records.jsonl
    """
}
