!> The watch of a build without anomalyd (-DWATCH=OFF): same interface as watch.f90, every answer is "unknown".
module watch
   implicit none
   private
   public :: watch_type, answer_type

   type :: answer_type
      character(9) :: label = 'unknown'
      logical :: alarm = .false.
      integer :: status = 0
      double precision :: score = 0.0d0, threshold = 0.0d0, waited_ms = 0.0d0
      character(1024) :: text = ''
   end type answer_type

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

      message = 'built without anomalyd'
      if (len(run) < 0 .or. timeout_ms < 0) message = ''
   end subroutine open_watch

   subroutine judge(step, path, answer)
      integer, intent(in) :: step
      character(*), intent(in) :: path
      type(answer_type), intent(out) :: answer

      if (step < 0) answer%text = path
   end subroutine judge

   subroutine go_back(step, message)
      integer, intent(in) :: step
      character(:), allocatable, intent(out) :: message

      message = ''
      if (step < -1) message = 'step out of range'
   end subroutine go_back

   subroutine close_watch()
   end subroutine close_watch

end module watch
