!> One rank asks, all ranks act: mpiexec -n 4 mpi_classify FIRST_STEP PATH..., a step for each path.
!>
!> With the daemon in the same job: mpiexec -n 4 mpi_classify FIRST_STEP PATH... : -n 2 anomalyd serve --mpi. Without it, the daemon
!> is found as everywhere (ANOMALYD_ENDPOINT, ANOMALYD_ENDPOINT_FILE).
program mpi_classify
   use, intrinsic :: iso_fortran_env, only: int64
   use mpi_f08
   use anomalyd
   use anomalyd_mpi
   implicit none
   type(MPI_Comm) :: simulation
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   character(anomalyd_max_path) :: word
   character(anomalyd_max_endpoint) :: endpoint
   integer(int64) :: step
   integer :: rank, i, failure

   call MPI_Init()
   call anomalyd_mpi_split(0, simulation, endpoint)
   call MPI_Comm_rank(simulation, rank)
   ! A client that cannot be opened gives verdicts with the status anomalyd_invalid, and the run goes on.
   if (rank == 0) call watch%open(endpoint=endpoint, run='mpi_classify')
   call get_command_argument(1, word)
   read (word, *, iostat=failure) step
   if (failure /= 0) step = 0
   do i = 2, command_argument_count()
      call get_command_argument(i, word)
      call anomalyd_mpi_classify(simulation, 0, watch, step, word, verdict)
      print '(3(a, i0), 1x, a)', 'rank ', rank, ' step ', verdict%step, ' status ', verdict%status, &
         anomalyd_label_name(verdict%label)
      ! if (verdict%act): every rank restores its part of the checkpoint here; all then call anomalyd_mpi_rewind.
      step = step + 1
   end do
   call watch%close()
   call MPI_Finalize()
end program mpi_classify
