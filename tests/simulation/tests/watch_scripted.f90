!> Takes the place of watch.f90 in test_rewind: raises alarms by a script, and remembers what it was told.
module watch
   implicit none
   private
   public :: watch_type, answer_type, script_type, script

   type :: answer_type
      character(9) :: label = 'normal'
      logical :: alarm = .false.
      integer :: status = 200
      double precision :: score = 0.0d0, threshold = 0.0d0, waited_ms = 0.0d0
      character(1024) :: text = ''
   end type answer_type

   type :: script_type
      !> Raise an alarm at this step, the first `n_alarms` times that it is asked about.
      integer :: alarm_step = -1, n_alarms = 0
      !> The steps that the run went back to, in order.
      integer, allocatable :: went_back_to(:)
      !> Steps asked about, in order.
      integer, allocatable :: asked(:)
   end type script_type

   type(script_type), save :: script

   type :: watch_type
   contains
      procedure, nopass :: open => open_watch
      procedure, nopass :: judge
      procedure, nopass :: go_back
      procedure, nopass :: close => close_watch
   end type watch_type

contains

   subroutine open_watch(run, timeout_ms, message)
      character(*), intent(in) :: run
      integer, intent(in) :: timeout_ms
      character(:), allocatable, intent(out) :: message

      message = ''
      if (len_trim(run) == 0 .or. timeout_ms < 1) message = 'wrong argument'
      script%went_back_to = [integer ::]
      script%asked = [integer ::]
   end subroutine open_watch

   subroutine judge(step, path, answer)
      integer, intent(in) :: step
      character(*), intent(in) :: path
      type(answer_type), intent(out) :: answer
      logical :: there

      inquire (file=path, exist=there)
      if (.not. there) error stop 'judge: there is no image'
      script%asked = [script%asked, step]
      answer%alarm = step == script%alarm_step .and. count(script%asked == step) <= script%n_alarms
      if (answer%alarm) answer%label = 'anomalous'
   end subroutine judge

   subroutine go_back(step, message)
      integer, intent(in) :: step
      character(:), allocatable, intent(out) :: message

      message = ''
      script%went_back_to = [script%went_back_to, step]
   end subroutine go_back

   subroutine close_watch()
   end subroutine close_watch

end module watch
