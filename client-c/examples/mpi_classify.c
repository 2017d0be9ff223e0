/* One rank asks, all ranks act: mpiexec -n 4 mpi_classify FIRST_STEP PATH..., a step for each path. */
#include <anomalyd_mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client = NULL;
    anomalyd_verdict verdict;
    int64_t step;
    int rank, idx;

    (void)MPI_Init(&argc, &argv);
    (void)MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    options.run = "mpi_classify";
    /* A client that cannot be opened leaves a NULL handle: the verdicts then say ANOMALYD_INVALID, and the run goes on.
     */
    if (rank == 0 && anomalyd_open(&options, &client) != ANOMALYD_OK)
        (void)fprintf(stderr, "mpi_classify: %s\n", anomalyd_last_error(NULL));
    step = argc > 1 ? strtoll(argv[1], NULL, 10) : 0;
    for (idx = 2; idx < argc; ++idx, ++step) {
        (void)anomalyd_mpi_classify(MPI_COMM_WORLD, 0, client, step, argv[idx], &verdict);
        (void)printf("rank %d step %lld status %d %s\n", rank, (long long)verdict.step, (int)verdict.status,
                     anomalyd_label_name(verdict.label));
        /* if (verdict.acted): every rank restores its part of the checkpoint here, and then all call
         * anomalyd_mpi_rewind. */
    }
    anomalyd_close(client);
    return MPI_Finalize();
}
