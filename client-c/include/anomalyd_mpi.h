/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * anomalyd_mpi.h: one rank asks, every rank gets the same verdict; and the daemon in the same MPI job as the
 * simulation.
 *
 * Header only, so that the library itself does not depend on an MPI. All ranks of the communicator call these functions
 * together, in the same order; only the rank `root` opens a client, the others pass NULL. MPI is called from the thread
 * that calls. The duration of a question is the root's time-out and a broadcast.
 *
 *     mpirun -n N1 simulation : -n N2 anomalyd serve --mpi
 *
 *     MPI_Init(&argc, &argv);
 *     anomalyd_mpi_split(0, &comm, endpoint, sizeof endpoint);  // comm: the simulation, without the daemon
 *     options.endpoint = endpoint;
 *     if (rank == 0) anomalyd_open(&options, &client);
 */
#ifndef ANOMALYD_MPI_H
#define ANOMALYD_MPI_H

#include "anomalyd.h"
#include <math.h>
#include <mpi.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The daemon's colour in MPI_Comm_split: "anom" in ASCII. The simulation's is any other. */
#define ANOMALYD_MPI_COLOUR 1634627437
/** What the daemon's rank 0 tells (PROTOCOL.md, section 14): its host, its endpoint there, its endpoint elsewhere. */
#define ANOMALYD_MPI_HOST_BYTES 256
#define ANOMALYD_MPI_ENDPOINT_BYTES 512
#define ANOMALYD_MPI_MESSAGE_BYTES (ANOMALYD_MPI_HOST_BYTES + 2 * ANOMALYD_MPI_ENDPOINT_BYTES)

/* MPI_Finalize calls it first of all, while MPI is still there: so the daemon learns that the simulation has ended. */
static inline int anomalyd_mpi_end(MPI_Comm comm, int keyval, void *value, void *extra)
{
    MPI_Request request;
    (void)comm;
    (void)keyval;
    (void)value;
    (void)extra;
    /* The daemon has entered it long ago, and leaves when the last rank of the simulation enters. */
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS)
        return MPI_ERR_OTHER;
    return MPI_Wait(&request, MPI_STATUS_IGNORE);
}

/**
 * Parts the MPI job in simulation and daemon, and tells where the daemon is.
 *
 * To be called once, right after MPI_Init, by all ranks of the job that are not the daemon's, before anything else on
 * MPI_COMM_WORLD; from then on the simulation uses `simulation` in its place. It returns when the daemon serves, or has
 * failed to start. A job without a daemon is parted as well, so that the same program runs with and without.
 *
 * The daemon ends with MPI_Finalize of the simulation, which waits for all of the simulation's ranks.
 *
 * @param colour      Not negative and not ANOMALYD_MPI_COLOUR: the ranks of equal colour are in one communicator.
 * Programs that are coupled take a colour each.
 * @param simulation  Receives the communicator of this rank's colour, in the order of MPI_COMM_WORLD.
 * @param endpoint    Receives the endpoint for a client on this rank, for anomalyd_options.endpoint; empty: there is
 * none.
 * @param size        Bytes in `endpoint`, at least ANOMALYD_MAX_ENDPOINT + 1.
 *
 * @retval ANOMALYD_OK           there is a daemon, and it can be reached from here
 * @retval ANOMALYD_UNAVAILABLE  the job has no daemon, or it could not start (see its log), or this rank is on another
 * node and it has no endpoint for those
 * @retval ANOMALYD_INVALID      an argument is wrong; the rank takes part all the same, of no communicator if it is the
 * colour
 * @retval ANOMALYD_SYSTEM       MPI failed, and its error handler returns
 */
static inline anomalyd_status anomalyd_mpi_split(int colour, MPI_Comm *simulation, char *endpoint, size_t size)
{
    char message[ANOMALYD_MPI_MESSAGE_BYTES], host[MPI_MAX_PROCESSOR_NAME + 1];
    const char *found;
    int rank, root, length, key, nothing = -1;
    MPI_Comm parted = MPI_COMM_NULL;
    int bad_colour = colour < 0 || colour == ANOMALYD_MPI_COLOUR;

    if (simulation != NULL)
        *simulation = MPI_COMM_NULL;
    if (endpoint != NULL && size > 0)
        endpoint[0] = '\0';
    memset(host, 0, sizeof host);
    memset(message, 0, sizeof message);
    if (MPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS ||
        MPI_Comm_split(MPI_COMM_WORLD, bad_colour ? MPI_UNDEFINED : colour, rank, &parted) != MPI_SUCCESS)
        return ANOMALYD_SYSTEM;
    if (simulation != NULL)
        *simulation = parted;
    if (MPI_Allreduce(&nothing, &root, 1, MPI_INT32_T, MPI_MAX, MPI_COMM_WORLD) != MPI_SUCCESS)
        return ANOMALYD_SYSTEM;
    if (root >= 0) {
        if (MPI_Bcast(message, ANOMALYD_MPI_MESSAGE_BYTES, MPI_UINT8_T, root, MPI_COMM_WORLD) != MPI_SUCCESS ||
            MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, anomalyd_mpi_end, &key, NULL) != MPI_SUCCESS ||
            MPI_Comm_set_attr(MPI_COMM_SELF, key, NULL) != MPI_SUCCESS ||
            MPI_Get_processor_name(host, &length) != MPI_SUCCESS)
            return ANOMALYD_SYSTEM;
    }
    if (bad_colour || simulation == NULL || endpoint == NULL || size < ANOMALYD_MAX_ENDPOINT + 1)
        return ANOMALYD_INVALID;
    if (root < 0)
        return ANOMALYD_UNAVAILABLE;
    /* Each field ends in a NUL, or the daemon is of another version. */
    found = message + ANOMALYD_MPI_HOST_BYTES;
    if (strncmp(message, host, ANOMALYD_MPI_HOST_BYTES) != 0)
        found += ANOMALYD_MPI_ENDPOINT_BYTES;
    if (memchr(found, '\0', ANOMALYD_MPI_ENDPOINT_BYTES) == NULL || found[0] == '\0')
        return ANOMALYD_UNAVAILABLE;
    memcpy(endpoint, found, ANOMALYD_MPI_ENDPOINT_BYTES);
    return ANOMALYD_OK;
}

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

#ifdef __cplusplus
}
#endif

#endif
