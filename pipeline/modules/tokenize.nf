process TOKENIZE {
    tag "${meta.id}"
    label 'process_low'

    input:
    // id; model; split_id: the outer split whose training part the genes and bins are fitted on; an encoder whose genes
    // and bins are used instead, possibly none
    tuple val(meta), path(champion, stageAs: 'champion')
    path cohorts
    path splits
    val settings  // map: max_genes, missing_genes, genes
    val _code     // hash of the code that this stage imports

    output:
    tuple val(meta), path('tokens'), emit: tokens

    script:
    def genes_flag = meta.model == 'mojo' ? "--genes ${settings.genes} " : ''
    def choices = champion
        ? "--like ${champion}"
        : "--model ${meta.model} ${genes_flag}--max-genes ${settings.max_genes} --missing-genes ${settings.missing_genes}"
    """
    brb-tokenize --cohorts ${cohorts} --splits ${splits}/splits.tsv --split-id ${meta.split_id} ${choices} --out tokens
    """

    stub:
    """
    mkdir tokens
    touch tokens/tokens.parquet tokens/tokenizer.json tokens/genes.txt
    """
}
