!> simulation [FILE.nml] [key=value ...]: a Kelvin-Helmholtz run that renders its entropy and asks anomalyd about every image.
!>
!> Exit codes: 0 the run reached its end, 1 it did not, 2 wrong arguments.
program main
   use, intrinsic :: iso_fortran_env, only: error_unit
   use parameters, only: parameters_type, read_parameters
   use run, only: run_type
   implicit none

   type(parameters_type) :: p
   type(run_type) :: this
   character(:), allocatable :: file, overrides, message
   character(1024) :: argument
   integer :: k, length

   file = ''
   overrides = ''
   do k = 1, command_argument_count()
      call get_command_argument(k, argument, length)
      if (length > len(argument)) call leave(2, 'an argument is longer than 1024 characters')
      if (index(argument, '=') > 0) then
         overrides = overrides//' '//trim(argument)//','
      else if (len(file) == 0) then
         file = trim(argument)
      else
         call leave(2, 'usage: simulation [FILE.nml] [key=value ...]')
      end if
   end do
   call read_parameters(file, overrides, p, message)
   if (len(message) > 0) call leave(2, message)
   call this%start(p, message)
   if (len(message) > 0) call leave(1, message)
   call this%to_end(message)
   if (len(message) > 0) call leave(1, message)

contains

   subroutine leave(code, text)
      integer, intent(in) :: code
      character(*), intent(in) :: text

      write (error_unit, '(2a)') 'simulation: ', text
      stop code, quiet=.true.
   end subroutine leave

end program main
