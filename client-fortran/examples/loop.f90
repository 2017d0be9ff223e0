!> A toy simulation that polls and rewinds: the field decays, and bit 62 of one of its values flips at one step.
!>
!> loop N_STEPS FLIP_STEP FOLDER; the image of each step is a PGM file in the folder, which the daemon must be allowed to read.
!> A checkpoint is kept every 10 steps. What is shown is the shape of such a loop, not a simulation; a real solver with
!> checkpoints on disk is in tests/simulation.
program loop
   use, intrinsic :: iso_fortran_env, only: int64, real64
   use anomalyd
   implicit none
   integer, parameter :: n = 64, checkpoint_interval = 10
   type(anomalyd_client) :: watch
   type(anomalyd_verdict) :: verdict
   real(real64) :: field(n, n), checkpoint(n, n)
   character(256) :: words(3)
   character(1024) :: image, message
   integer :: n_steps, flip_step, step, checkpoint_step, stat, i
   logical :: flipped

   do i = 1, 3
      call get_command_argument(i, words(i))
   end do
   read (words(1), *, iostat=stat) n_steps
   if (stat == 0) read (words(2), *, iostat=stat) flip_step
   if (stat /= 0 .or. words(3) == '') then
      print '(a)', 'usage: loop N_STEPS FLIP_STEP FOLDER'
   else
      call watch%open(run='loop', timeout_ms=5000, policy=anomalyd_fail_open, stat=stat, errmsg=message)
      ! A watch that cannot be opened is worth a line, not the simulation.
      if (stat /= anomalyd_ok) print '(2a)', 'running without a watch: ', trim(message)
      call run()
      call watch%close()
   end if

contains

   subroutine run()
      integer :: j

      do j = 1, n
         do i = 1, n
            field(i, j) = 1 + sin(0.2_real64*i)*cos(0.1_real64*j)
         end do
      end do
      checkpoint = field
      checkpoint_step = 0
      step = 0
      flipped = .false.
      do while (step < n_steps)
         step = step + 1
         field(2:n - 1, 2:n - 1) = 0.2_real64*(field(2:n - 1, 2:n - 1) + field(1:n - 2, 2:n - 1) + field(3:n, 2:n - 1) &
                                               + field(2:n - 1, 1:n - 2) + field(2:n - 1, 3:n))
         if (step == flip_step .and. .not. flipped) then
            field(n/2, n/2) = transfer(ieor(transfer(field(n/2, n/2), 0_int64), ishft(1_int64, 62)), 0._real64)
            flipped = .true.
         end if
         write (image, '(2a, i6.6, a)') trim(words(3)), '/field_', step, '.pgm'
         call write_image(trim(image))

         call watch%classify(step, image, verdict)
         print '(a, i0, 1x, i0, 1x, a)', 'step ', step, verdict%status, anomalyd_label_name(verdict%label)
         if (verdict%act) then
            print '(2(a, i0))', 'back from step ', step, ' to ', checkpoint_step
            field = checkpoint
            step = checkpoint_step
            call watch%rewind(step)
         else if (mod(step, checkpoint_interval) == 0) then
            checkpoint = field
            checkpoint_step = step
         end if
      end do
   end subroutine run

   !> Writes the field as a plain PGM file with the fixed range [0, 2]; what lies outside is drawn as the nearest colour.
   subroutine write_image(path)
      character(*), intent(in) :: path
      integer :: unit, failure

      open (newunit=unit, file=path, action='write', iostat=failure)
      if (failure /= 0) return ! the daemon will say that there is no such file
      write (unit, '(a, /, i0, 1x, i0, /, a)') 'P2', n, n, '255'
      write (unit, '(16(i0, 1x))') nint(127.5_real64*max(0._real64, min(2._real64, field)))
      close (unit)
   end subroutine write_image
end program loop
