! SPDX-License-Identifier: MIT OR Apache-2.0

!> The daemon in the same MPI job as the simulation, and one rank that asks for all: what anomalyd_mpi.h is for C.
!>
!> A module apart, since it must be compiled with the site's mpi_f08.
!>
!>     mpirun -n N1 simulation : -n N2 anomalyd serve --mpi
!>
!>     call MPI_Init()
!>     call anomalyd_mpi_split(0, comm, endpoint)       ! comm: the simulation, without the daemon
!>     if (rank == 0) call watch%open(endpoint=endpoint, run="run_a")
!>     call anomalyd_mpi_classify(comm, 0, watch, step, "entropy_0733.png", verdict)
!>
!> MPI is called from the thread that calls. All ranks of the communicator call these procedures together, in the same order.
module anomalyd_mpi
   use, intrinsic :: iso_fortran_env, only: int32, int64
   use mpi_f08
   use anomalyd, only: anomalyd_client, anomalyd_invalid, anomalyd_max_endpoint, anomalyd_ok, anomalyd_unavailable, anomalyd_verdict
   implicit none
   private

   !> The daemon's colour in MPI_Comm_split: "anom" in ASCII. The simulation's is any other.
   integer, parameter, public :: anomalyd_mpi_colour = 1634627437

   public :: anomalyd_mpi_split, anomalyd_mpi_classify, anomalyd_mpi_rewind

   ! What the daemon's rank 0 tells (PROTOCOL.md, section 14): its host, its endpoint there, its endpoint elsewhere.
   integer, parameter :: host_bytes = 256, endpoint_bytes = 512
   integer, parameter :: message_bytes = host_bytes + 2*endpoint_bytes

contains

   !> Part the MPI job in simulation and daemon, and learn where the daemon is.
   !>
   !> To be called once, right after MPI_Init, by all ranks of the job that are not the daemon's, before anything else on
   !> MPI_COMM_WORLD; from then on the simulation uses `simulation` in its place. It returns when the daemon serves, or has failed to
   !> start. A job without a daemon is parted as well, so that the same program runs with and without.
   !>
   !> The daemon ends with MPI_Finalize of the simulation, which waits for all of the simulation's ranks.
   !>
   !> `stat` is anomalyd_ok; anomalyd_unavailable if the job has no daemon, it could not start (see its log), or has no endpoint for
   !> another node, which this rank is on; or anomalyd_invalid for a wrong colour: the rank takes part all the same, of no communicator.
   subroutine anomalyd_mpi_split(colour, simulation, endpoint, stat)
      !> Not negative and not anomalyd_mpi_colour: the ranks of equal colour are in one communicator. Programs that are coupled take a
      !> colour each.
      integer, intent(in) :: colour
      !> The communicator of this rank's colour, in the order of MPI_COMM_WORLD.
      type(MPI_Comm), intent(out) :: simulation
      !> For a client on this rank; blank: there is none. At least anomalyd_max_endpoint long, or none is given.
      character(*), intent(out) :: endpoint
      integer, intent(out), optional :: stat
      character(message_bytes) :: message
      character(MPI_MAX_PROCESSOR_NAME) :: host
      integer(int32) :: nothing, root
      integer :: rank, length, keyval, first, last
      logical :: bad_colour

      endpoint = ''
      bad_colour = colour < 0 .or. colour == anomalyd_mpi_colour
      call MPI_Comm_rank(MPI_COMM_WORLD, rank)
      call MPI_Comm_split(MPI_COMM_WORLD, merge(MPI_UNDEFINED, colour, bad_colour), rank, simulation)
      nothing = -1
      call MPI_Allreduce(nothing, root, 1, MPI_INT32_T, MPI_MAX, MPI_COMM_WORLD)
      if (root >= 0) then
         call MPI_Bcast(message, message_bytes, MPI_UINT8_T, int(root), MPI_COMM_WORLD)
         ! MPI_Finalize frees MPI_COMM_SELF first of all, while MPI is still there.
         call MPI_Comm_create_keyval(not_copied, simulation_ends, keyval, 0_MPI_ADDRESS_KIND)
         call MPI_Comm_set_attr(MPI_COMM_SELF, keyval, 0_MPI_ADDRESS_KIND)
         call MPI_Get_processor_name(host, length)
         first = host_bytes + 1
         if (text_of(message(:host_bytes)) /= host(:length)) first = first + endpoint_bytes
         last = first + endpoint_bytes - 1
         if (len(endpoint) >= anomalyd_max_endpoint) endpoint = text_of(message(first:last))
      end if
      if (.not. present(stat)) return
      stat = anomalyd_ok
      if (endpoint == '') stat = anomalyd_unavailable
      if (bad_colour .or. len(endpoint) < anomalyd_max_endpoint) stat = anomalyd_invalid
   end subroutine anomalyd_mpi_split

   !> Ask on the rank `root` of `comm` and give all its ranks the verdict; only the root's `watch`, `step` and `path` count.
   subroutine anomalyd_mpi_classify(comm, root, watch, step, path, verdict)
      type(MPI_Comm), intent(in) :: comm
      integer, intent(in) :: root
      type(anomalyd_client), intent(in) :: watch
      integer(int64), intent(in) :: step
      character(*), intent(in) :: path
      type(anomalyd_verdict), intent(out) :: verdict
      integer :: rank

      call MPI_Comm_rank(comm, rank)
      if (rank == root) call watch%classify(step, path, verdict)
      call MPI_Bcast(verdict%label, 1, MPI_INTEGER, root, comm)
      call MPI_Bcast(verdict%act, 1, MPI_LOGICAL, root, comm)
      call MPI_Bcast(verdict%status, 1, MPI_INTEGER, root, comm)
      call MPI_Bcast(verdict%score, 1, MPI_DOUBLE_PRECISION, root, comm)
      call MPI_Bcast(verdict%threshold, 1, MPI_DOUBLE_PRECISION, root, comm)
      call MPI_Bcast(verdict%step, 1, MPI_INTEGER8, root, comm)
      call MPI_Bcast(verdict%instance, len(verdict%instance), MPI_CHARACTER, root, comm)
      call MPI_Bcast(verdict%restarted, 1, MPI_LOGICAL, root, comm)
      call MPI_Bcast(verdict%text, len(verdict%text), MPI_CHARACTER, root, comm)
   end subroutine anomalyd_mpi_classify

   !> Tell on the rank `root` of `comm` that the simulation has gone back, as watch%rewind does, and give all its ranks the status.
   subroutine anomalyd_mpi_rewind(comm, root, watch, step, stat)
      type(MPI_Comm), intent(in) :: comm
      integer, intent(in) :: root
      type(anomalyd_client), intent(in) :: watch
      integer(int64), intent(in) :: step
      integer, intent(out) :: stat
      integer :: rank

      call MPI_Comm_rank(comm, rank)
      if (rank == root) call watch%rewind(step, stat)
      call MPI_Bcast(stat, 1, MPI_INTEGER, root, comm)
   end subroutine anomalyd_mpi_rewind

   !> The text before the first NUL.
   pure function text_of(field) result(text)
      character(*), intent(in) :: field
      character(:), allocatable :: text
      integer :: length

      length = index(field, achar(0)) - 1
      if (length < 0) length = 0
      text = field(:length)
   end function text_of

   !> The daemon has entered the barrier long ago, and leaves when the last rank of the simulation enters.
   subroutine simulation_ends(comm, comm_keyval, attribute_val, extra_state, ierror)
      type(MPI_Comm) :: comm
      integer :: comm_keyval, ierror
      integer(MPI_ADDRESS_KIND) :: attribute_val, extra_state
      type(MPI_Request) :: request

      call MPI_Ibarrier(MPI_COMM_WORLD, request, ierror)
      if (ierror == MPI_SUCCESS) call MPI_Wait(request, MPI_STATUS_IGNORE, ierror)
   end subroutine simulation_ends

   !> A duplicate of the communicator does not have the attribute.
   subroutine not_copied(oldcomm, comm_keyval, extra_state, attribute_val_in, attribute_val_out, flag, ierror)
      type(MPI_Comm) :: oldcomm
      integer :: comm_keyval, ierror
      integer(MPI_ADDRESS_KIND) :: extra_state, attribute_val_in, attribute_val_out
      logical :: flag

      flag = .false.
      ierror = MPI_SUCCESS
   end subroutine not_copied
end module anomalyd_mpi
