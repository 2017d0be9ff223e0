!> Where does a run go back to, and does it end in the same bits? With a watch that raises alarms by a script; exit code 1 at the
!> first law that does not hold.
program test_rewind
   use kinds, only: int8
   use parameters, only: parameters_type
   use run, only: run_type
   use watch, only: script, script_type
   implicit none

   integer(int8), allocatable :: undisturbed(:), final(:)
   type(parameters_type) :: p

   p%ny = 16
   p%n_steps = 24
   p%directory = 'test_rewind.out'
   p%timeout_ms = 1
   p%keep_images = .false.

   call go(p, script_type())
   call read_final(undisturbed)
   call demand(all(script%asked == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]), &
      & 'every image is asked about once')

   call flip(p, step=13, bit=55)
   call go(p, script_type(alarm_step=13, n_alarms=1))
   call read_final(final)
   call demand(all(script%went_back_to == [10]) .and. size(script%went_back_to) == 1, 'the newest checkpoint three images back')
   call demand(count(script%asked == 11) == 2 .and. count(script%asked == 10) == 1, 'the images after the checkpoint come again')
   call demand(all(final == undisturbed), 'a run that went back ends in the same bits')

   call go(p, script_type())
   call read_final(final)
   call demand(any(final /= undisturbed), 'a fault that nobody saw changes the final state')

   ! The checkpoint of step 10 was written after the fault: its replay brings the alarm again.
   call flip(p, step=9, bit=55)
   call go(p, script_type(alarm_step=13, n_alarms=2))
   call read_final(final)
   call demand(size(script%went_back_to) == 2, 'a second alarm at the same step leads to a second rewind')
   call demand(all(script%went_back_to == [10, 5]), 'the second rewind goes to an older checkpoint')
   call demand(all(final == undisturbed), 'a checkpoint with the fault in it is left behind')

   p%flip%planned = .false.
   call go(p, script_type(alarm_step=13, n_alarms=99))
   call read_final(final)
   call demand(all(script%went_back_to == [10, 5, 0]) .and. size(script%went_back_to) == 3, 'three rewinds, each further back')
   call demand(all(final == undisturbed), 'what always comes back is accepted, and the run ends as it would')

   call go(p, script_type(alarm_step=2, n_alarms=1))
   call read_final(final)
   call demand(all(script%went_back_to == [0]), 'an early alarm leads to the start')
   call demand(all(final == undisturbed), 'a rewind to the start ends in the same bits')

   ! Energy times 2^512: the sound speed leaves no time step to go on with.
   call flip(p, step=13, bit=61)
   p%max_cycles = 200
   call go(p, script_type())
   call read_final(final)
   call demand(all(script%went_back_to == [10]) .and. size(script%went_back_to) == 1, 'a collapsed time step leads back by itself')
   call demand(all(final == undisturbed), 'after a collapse, too, the run ends in the same bits')
   print '(a)', 'test_rewind: all well'

contains

   subroutine flip(p, step, bit)
      type(parameters_type), intent(inout) :: p
      integer, intent(in) :: step, bit

      p%flip%planned = .true.
      p%flip%step = step
      p%flip%i = 7
      p%flip%j = 8
      p%flip%variable = 4
      p%flip%bit = bit
   end subroutine flip

   subroutine go(p, plan)
      type(parameters_type), intent(in) :: p
      type(script_type), intent(in) :: plan
      type(run_type) :: this
      character(:), allocatable :: message

      script = plan
      call this%start(p, message)
      call demand(message == '', 'the run starts: '//message)
      call this%to_end(message)
      call demand(message == '', 'the run ends: '//message)
   end subroutine go

   subroutine read_final(bytes)
      integer(int8), allocatable, intent(out) :: bytes(:)
      integer :: unit, length

      open (newunit=unit, file='test_rewind.out/final.bin', access='stream', form='unformatted', status='old', action='read')
      inquire (unit=unit, size=length)
      allocate (bytes(length))
      read (unit) bytes
      close (unit)
   end subroutine read_final

   subroutine demand(holds, law)
      logical, intent(in) :: holds
      character(*), intent(in) :: law

      if (holds) return
      print '(2a)', 'test_rewind: does not hold: ', law
      stop 1
   end subroutine demand

end program test_rewind
