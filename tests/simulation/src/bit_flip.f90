!> A transient fault: one bit of one double in memory changes once.
module bit_flip
   use kinds, only: dp, int64
   use grid, only: mesh_type, state_type, n_ghosts
   use random, only: generator_type, new_generator
   implicit none
   private
   public :: flip_type, flip_bit, random_flip, variable_names, variable_index

   character(10), parameter :: variable_names(4) = [character(10) :: 'density', 'momentum_x', 'momentum_y', 'energy']

   !> Which bit flips, and when. It lives in the process, not in the state: a checkpoint knows nothing of it, and it does not come
   !> again when the run goes back, as a particle that struck a memory cell does not.
   type :: flip_type
      logical :: planned = .false.
      logical :: done = .false.
      !> Image whose interval the fault falls into: it happens after image `step` - 1, before time step `cycle` (1 is the first) of
      !> that interval.
      integer :: step = 0
      integer :: cycle = 1
      integer :: i = 1, j = 1
      !> Position in `variable_names`.
      integer :: variable = 4
      !> 0 is the lowest bit of the mantissa, 52 the lowest of the exponent, 63 the sign.
      integer :: bit = 55
      !> The values before and after; set when it has happened.
      real(dp) :: before = 0.0_dp, after = 0.0_dp
   contains
      procedure :: strike
   end type flip_type

contains

   !> `value` with one of its 64 bits inverted.
   elemental real(dp) function flip_bit(value, bit)
      real(dp), intent(in) :: value
      integer, intent(in) :: bit
      flip_bit = transfer(ieor(transfer(value, 0_int64), shiftl(1_int64, bit)), 0.0_dp)
   end function flip_bit

   !> Lets the fault happen if its moment has come. True if it did.
   logical function strike(self, state, next_step, cycle_in_interval)
      class(flip_type), intent(inout) :: self
      type(state_type), intent(inout) :: state
      !> Image that the solver is on its way to, and number of the coming time step of that interval, from 1.
      integer, intent(in) :: next_step, cycle_in_interval

      strike = self%planned .and. .not. self%done .and. next_step == self%step .and. cycle_in_interval == self%cycle
      if (.not. strike) return
      self%before = state%u(self%i, self%j, self%variable)
      self%after = flip_bit(self%before, self%bit)
      state%u(self%i, self%j, self%variable) = self%after
      self%done = .true.
   end function strike

   !> A fault drawn by `seed`: any zone, energy or density, one of the bits `low_bit` to `high_bit`, before an image between
   !> `first` and `last`.
   function random_flip(mesh, seed, first, last, low_bit, high_bit) result(flip)
      type(mesh_type), intent(in) :: mesh
      integer, intent(in) :: seed, first, last, low_bit, high_bit
      type(flip_type) :: flip
      type(generator_type) :: generator
      integer :: choice

      generator = new_generator(seed, 2)
      flip%planned = .true.
      call generator%between(first, last, flip%step)
      call generator%between(1, mesh%nx, flip%i)
      call generator%between(1, mesh%ny, flip%j)
      call generator%between(1, 2, choice)
      flip%variable = merge(1, 4, choice == 1)
      call generator%between(low_bit, high_bit, flip%bit)
   end function random_flip

   !> Position of a variable's name, 0 if there is none such.
   pure integer function variable_index(name)
      character(*), intent(in) :: name
      do variable_index = size(variable_names), 1, -1
         if (variable_names(variable_index) == name) return
      end do
   end function variable_index

end module bit_flip
