process TOKENIZE {
    tag "${meta.id}"
    label 'process_low'

    input:
    val meta      // id: the outer split whose training part the genes and bins are fitted on
    path cohorts
    path splits
    val settings  // map: max_genes, missing_genes
    val _code     // hash of the code that this stage imports

    output:
    tuple val(meta), path('tokens'), emit: tokens

    script:
    """
    brb-tokenize --cohorts ${cohorts} --splits ${splits}/splits.tsv --split-id ${meta.id} \\
        --max-genes ${settings.max_genes} --missing-genes ${settings.missing_genes} --out tokens
    """

    stub:
    """
    mkdir tokens
    touch tokens/tokens.parquet tokens/tokenizer.json tokens/genes.txt
    """
}
