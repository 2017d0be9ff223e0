!> The entropy field as an image: one pixel a zone, a fixed linear colour range, a table of 128 colours.
module render
   use kinds, only: dp, int8
   use grid, only: mesh_type, state_type
   use eos, only: gas_type, entropy
   use png, only: write_png
   implicit none
   private
   public :: render_entropy, n_colours

   integer, parameter :: n_colours = 128
   !> Blue, cyan, green, yellow, red: VisIt's "hot".
   integer, parameter :: control(3, 5) = reshape([0, 0, 255, 0, 255, 255, 0, 255, 0, 255, 255, 0, 255, 0, 0], [3, 5])

contains

   !> Writes the entropy of `state` to the PNG file `path`, `nx` by `ny` pixels, y upwards.
   !>
   !> `low` and `high` are the entropies of the first and the last colour, the same for every image of a run: a range taken from
   !> each image would make all of it change when one zone does. Entropies beyond are drawn in the last colour on their side,
   !> zones without an entropy (no positive density or pressure) in black.
   subroutine render_entropy(mesh, gas, state, low, high, path, ok)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      type(state_type), intent(in) :: state
      real(dp), intent(in) :: low, high
      character(*), intent(in) :: path
      logical, intent(out) :: ok
      integer(int8), allocatable :: pixels(:, :, :)
      integer(int8) :: colours(3, n_colours)
      integer :: i, j, colour
      real(dp) :: value

      colours = colour_table()
      allocate (pixels(3, mesh%nx, mesh%ny))
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            value = (entropy(gas, state%u(i, j, :)) - low)/(high - low)
            if (value /= value) then
               pixels(:, i, mesh%ny + 1 - j) = 0_int8
            else
               colour = 1 + int(max(0.0_dp, min(value, 1.0_dp))*real(n_colours, dp))
               pixels(:, i, mesh%ny + 1 - j) = colours(:, min(colour, n_colours))
            end if
         end do
      end do
      call write_png(path, pixels, ok)
   end subroutine render_entropy

   pure function colour_table() result(colours)
      integer(int8) :: colours(3, n_colours)
      integer :: k, segment, c, level
      real(dp) :: position

      do k = 1, n_colours
         position = 4.0_dp*real(k - 1, dp)/real(n_colours - 1, dp)
         segment = min(int(position), 3) + 1
         do c = 1, 3
            level = nint(control(c, segment) + (position - real(segment - 1, dp))*(control(c, segment + 1) - control(c, segment)))
            colours(c, k) = int(merge(level - 256, level, level > 127), int8)
         end do
      end do
   end function colour_table

end module render
