process PRETRAIN {
    tag "${meta.id}"
    label 'process_gpu'
    label 'process_high'
    label 'process_restarts'

    input:
    // state: where an attempt finds what those before it have done, null: nowhere; champion: what to go on from, possibly none
    tuple val(meta), path(tokens), val(state), path(champion, stageAs: 'champion')
    path model_config
    path train_config
    val settings // map: preset, engine, zero_stage, processes, nodes, steps, seed, new_share
    val _code    // hash of the code that this stage imports

    output:
    tuple val(meta), path("${meta.id}"), emit: checkpoint

    script:
    def model_flag = model_config ? "--model-config ${model_config}" : ''
    def train_flag = train_config ? "--train-config ${train_config}" : ''
    def steps_flag = settings.steps ? "--steps ${settings.steps}" : ''
    def start_flag = champion ? "--start-from ${champion}" + (settings.new_share ? " --new-share ${settings.new_share}" : '') : ''
    // An attempt that leaves nothing behind does not stop before its time is over.
    def limit_flag = state ? "--time-limit ${task.time.toSeconds()}" : ''
    def on_nodes = settings.nodes > 1 ? "on-nodes ${settings.nodes} ${settings.processes} " : ''
    def processes_flag = settings.nodes > 1 ? '' : "--processes ${settings.processes}"
    """
    # Beside the training: a server that is away holds nothing up. In the environment (nextflow.config), so that another
    # server is no other training. What was written last is worth a minute after the end, whatever that was.
    if [ "\${BRB_MLFLOW_URI:-none}" != none ]; then
        brb-track --follow '${state ?: 'state'}/records.jsonl' --tracking-uri "\$BRB_MLFLOW_URI" --name 'live ${meta.id}' > live.log 2>&1 &
        live=\$!
        trap 'kill \$live 2> /dev/null && { timeout 60 tail --pid=\$live -f /dev/null || kill -9 \$live; } || :' EXIT
    fi
    ${on_nodes}brb-pretrain --tokens ${tokens} --preset ${settings.preset} ${model_flag} ${train_flag} ${steps_flag} ${start_flag} \\
        --engine ${settings.engine} --zero-stage ${settings.zero_stage} ${processes_flag} \\
        --seed ${settings.seed} --threads ${task.cpus} ${limit_flag} \\
        --checkpoint-dir '${state ?: 'state'}' --out ${meta.id}
    """

    stub:
    """
    mkdir ${meta.id}
    touch ${meta.id}/config.json ${meta.id}/model.safetensors ${meta.id}/tokenizer.json ${meta.id}/genes.txt
    touch ${meta.id}/provenance.json ${meta.id}/README.md ${meta.id}/records.jsonl
    """
}
