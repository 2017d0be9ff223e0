/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * anomalyd_mpi.h: one rank asks, every rank gets the same verdict.
 *
 * Header only, so that the library itself does not depend on an MPI. All ranks of the communicator call these functions
 * together, in the same order; only the rank `root` opens a client, the others pass NULL. MPI_Bcast is all that is
 * used, from the thread that calls. The duration is the root's time-out and the broadcast.
 */
#ifndef ANOMALYD_MPI_H
#define ANOMALYD_MPI_H

#include "anomalyd.h"
#include <math.h>
#include <mpi.h>
#include <string.h>

/**
 * Asks as anomalyd_classify() does, on the rank `root`, and gives its verdict to all ranks.
 *
 * @param comm     All of its ranks make this call.
 * @param root     The rank that asks.
 * @param client   Open client on the rank `root`; ignored on the others.
 * @param step     Time step of the image; only the root's counts.
 * @param path     Path of the image; only the root's counts, others may pass NULL.
 * @param verdict  Receives the verdict, the same bytes on each rank.
 *
 * @return  The root's status on every rank. ANOMALYD_INVALID on a rank whose `verdict` is NULL, which still takes part.
 *          ANOMALYD_SYSTEM if MPI fails and its error handler returns; the label is then ANOMALYD_UNKNOWN, and acted 0.
 */
static inline anomalyd_status anomalyd_mpi_classify(MPI_Comm comm, int root, anomalyd_client *client, int64_t step,
                                                    const char *path, anomalyd_verdict *verdict)
{
    anomalyd_verdict shared;
    int rank = -1;
    memset(&shared, 0, sizeof shared);
    if (MPI_Comm_rank(comm, &rank) == MPI_SUCCESS) {
        if (rank == root)
            (void)anomalyd_classify(client, step, path, &shared);
        /* The same program runs on every rank: the struct's bytes mean the same. */
        if (MPI_Bcast(&shared, (int)sizeof shared, MPI_BYTE, root, comm) != MPI_SUCCESS)
            rank = -1;
    }
    if (rank < 0) {
        memset(&shared, 0, sizeof shared);
        shared.step = step;
        shared.score = NAN;
        shared.threshold = NAN;
        shared.status = ANOMALYD_SYSTEM;
        shared.label = ANOMALYD_UNKNOWN;
    }
    if (verdict == NULL)
        return ANOMALYD_INVALID;
    *verdict = shared;
    return shared.status;
}

/** Tells as anomalyd_rewind() does, on the rank `root`, and gives its status to all ranks; ANOMALYD_SYSTEM if MPI
 * fails. */
static inline anomalyd_status anomalyd_mpi_rewind(MPI_Comm comm, int root, anomalyd_client *client, int64_t step)
{
    int rank = -1, status = ANOMALYD_SYSTEM;
    if (MPI_Comm_rank(comm, &rank) != MPI_SUCCESS)
        return ANOMALYD_SYSTEM;
    if (rank == root)
        status = (int)anomalyd_rewind(client, step);
    if (MPI_Bcast(&status, 1, MPI_INT, root, comm) != MPI_SUCCESS)
        return ANOMALYD_SYSTEM;
    return (anomalyd_status)status;
}

#endif
