!> A simulation in one MPI job with the daemon, without the physics: simulation_fortran COLOUR RUN OUT PATH...
!>
!> Each path is a step. Each rank writes to OUT.RANK what simulation.c writes.
program simulation
   use, intrinsic :: iso_fortran_env, only: int64, real64
   use mpi_f08
   use anomalyd
   use anomalyd_mpi
   implicit none
   character(anomalyd_max_path) :: word, run, out
   character(anomalyd_max_endpoint) :: endpoint
   character(12) :: number
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   type(MPI_Comm) :: comm
   integer :: colour, stat, rank, ranks, unit, i
   real(real64) :: begun

   call MPI_Init()
   call get_command_argument(1, word)
   read (word, *) colour
   call get_command_argument(2, run)
   call get_command_argument(3, out)
   call anomalyd_mpi_split(colour, comm, endpoint, stat)
   rank = -1
   ranks = 0
   if (comm /= MPI_COMM_NULL) then
      call MPI_Comm_rank(comm, rank)
      call MPI_Comm_size(comm, ranks)
   end if
   write (number, '(i0)') rank
   open (newunit=unit, file=trim(out)//'.'//trim(number), status='replace', action='write')
   write (unit, '(3(a, i0), 2a)') 'split ', stat, ' rank ', rank, ' of ', ranks, ' endpoint ', trim(endpoint)
   if (rank == 0 .and. stat == anomalyd_ok) call watch%open(endpoint=endpoint, run=trim(run), timeout_ms=60000)
   if (comm /= MPI_COMM_NULL) then
      do i = 4, command_argument_count()
         call get_command_argument(i, word)
         begun = MPI_Wtime()
         call anomalyd_mpi_classify(comm, 0, watch, int(i - 3, int64), trim(word), verdict)
         write (unit, '(i0, 1x, a, 2(1x, i0), 1x, i0, 2(1x, es25.16e3), 1x, f0.3, 1x, a)') verdict%status, &
            trim(anomalyd_label_name(verdict%label)), merge(1, 0, verdict%act), merge(1, 0, verdict%restarted), &
            verdict%step, verdict%score, verdict%threshold, 1e3_real64*(MPI_Wtime() - begun), &
            trim(merge(verdict%instance, '-'//repeat(' ', len(verdict%instance) - 1), verdict%instance /= ''))
      end do
   end if
   call watch%close()
   close (unit)
   call MPI_Finalize()
end program simulation
