/* One rank asks, all ranks act: mpiexec -n 4 mpi_classify FIRST_STEP PATH..., a step for each path.
 *
 * With the daemon in the same job: mpiexec -n 4 mpi_classify FIRST_STEP PATH... : -n 2 anomalyd serve --mpi. Without
 * it, the daemon is found as everywhere (ANOMALYD_ENDPOINT, ANOMALYD_ENDPOINT_FILE).
 */
#include <anomalyd_mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    anomalyd_options options = ANOMALYD_OPTIONS_INIT;
    anomalyd_client *client = NULL;
    anomalyd_verdict verdict;
    char endpoint[ANOMALYD_MAX_ENDPOINT + 1];
    MPI_Comm simulation;
    int64_t step;
    int rank, idx;

    (void)MPI_Init(&argc, &argv);
    /* Empty where the job has no daemon. */
    (void)anomalyd_mpi_split(0, &simulation, endpoint, sizeof endpoint);
    (void)MPI_Comm_rank(simulation, &rank);
    options.endpoint = endpoint;
    options.run = "mpi_classify";
    /* A client that cannot be opened leaves a NULL handle: the verdicts then say ANOMALYD_INVALID, and the run goes on.
     */
    if (rank == 0 && anomalyd_open(&options, &client) != ANOMALYD_OK)
        (void)fprintf(stderr, "mpi_classify: %s\n", anomalyd_last_error(NULL));
    step = argc > 1 ? strtoll(argv[1], NULL, 10) : 0;
    for (idx = 2; idx < argc; ++idx, ++step) {
        (void)anomalyd_mpi_classify(simulation, 0, client, step, argv[idx], &verdict);
        (void)printf("rank %d step %lld status %d %s\n", rank, (long long)verdict.step, (int)verdict.status,
                     anomalyd_label_name(verdict.label));
        /* if (verdict.acted): every rank restores its part of the checkpoint here, and then all call
         * anomalyd_mpi_rewind. */
    }
    anomalyd_close(client);
    return MPI_Finalize();
}
