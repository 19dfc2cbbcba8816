// A cohort by Nextflow, one process per shard, then the joined table:
//
//   nextflow run main.nf --table /path/to/cohort.csv --shards 3 --results results
//
// Paths in the table are relative to it, so it is passed by its place and not copied.

params.table = 'cohort.csv'
params.shards = 3
params.results = 'results'
params.program = 'osteoload'

process shard {
    cpus 2

    input:
    val number

    output:
    path "shard-${number}"

    script:
    // Statuses 3, 4 and 5 are answers: the table says which case failed, and why.
    """
    status=0
    ${params.program} cohort '${file(params.table)}' --out shard-${number} --shard ${number}/${params.shards} \\
        --resume --threads ${task.cpus} || status=\$?
    case \$status in 0|3|4|5) ;; *) exit \$status ;; esac
    """
}

process joined {
    publishDir params.results, mode: 'copy'

    input:
    path shards

    output:
    path 'all'

    script:
    "${params.program} collect ${shards} --out all"
}

workflow {
    joined(shard(Channel.of(1..(params.shards as int))).collect())
}
